"""Threads: how many a run uses, and how they wait for each other. For programs, not for a library.

By default torch's CPU threads (OpenMP) spin while they wait between two kernels. On a machine with
other work this takes the processor away from the very thread that they wait for: two threads were
ten times slower than one. `prepare` makes them sleep instead. It must run before torch is loaded,
since the OpenMP library reads the variable once, when it is loaded.
"""

from __future__ import annotations

import os
import sys

from .errors import RegRefineError
from .limits import processors

# OMP_: GNU's and LLVM's libraries; KMP_: LLVM's and Intel's, milliseconds to spin before sleeping
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
# with fewer voxels of the working grid per thread, starting a thread costs as much as it saves
VOXELS_PER_THREAD = 32**3


def prepare() -> None:
    """Set how threads wait, unless the user has; for programs only, before torch is loaded."""
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)


def use(count: int | None = None, voxels: int | None = None) -> int:
    """Set the number of threads of torch and of ITK, and return it.

    Args:
        count: the number; None: what this process may use (`limits.processors`).
        voxels: of the working grid; a small grid gets fewer threads unless `count` is given.

    Raises:
        RegRefineError: the count is not 1 or more.
    """
    if count is not None and count < 1:
        raise RegRefineError(f"threads: 1 or more are needed, got {count}")
    number = count or fitting(processors(), voxels)
    import torch

    torch.set_num_threads(number)
    itk = sys.modules.get("SimpleITK")
    if itk is not None:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
    else:
        os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(number))
    return number


def fitting(allowed: int, voxels: int | None) -> int:
    """Return how many of the allowed threads a grid with that many voxels keeps busy."""
    if voxels is None:
        return allowed
    return max(1, min(allowed, voxels // VOXELS_PER_THREAD))
