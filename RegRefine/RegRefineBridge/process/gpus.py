"""The CUDA GPUs of this computer and their free memory, asked of the driver's own program.

torch is not imported inside Slicer; nvidia-smi comes with every NVIDIA driver.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import NamedTuple

PROGRAM = "nvidia-smi"
QUERY = ["--query-gpu=index,name,memory.free,memory.total", "--format=csv,noheader,nounits"]
PATIENCE_S = 2.0


class Gpu(NamedTuple):
    """One GPU: its number, its name, and its memory in MB."""

    number: int
    name: str
    freeMb: int
    totalMb: int


def gpus() -> list[Gpu]:
    """Return the GPUs in the order of their numbers; none where there is no driver or no answer."""
    program = shutil.which(PROGRAM)
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for gpu in map(_read, done.stdout.splitlines()) if gpu is not None]


def _read(line: str) -> Gpu | None:
    parts = [part.strip() for part in line.split(",")]
    try:
        return Gpu(int(parts[0]), ", ".join(parts[1:-2]), int(parts[-2]), int(parts[-1]))
    except (IndexError, ValueError):
        return None
