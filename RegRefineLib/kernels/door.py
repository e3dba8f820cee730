"""The one place that decides whether an operation runs compiled or in torch."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

SWITCH = "REGREFINE_NUMBA"  # 0 in the environment: torch alone
_LARGEST = 2**31 - 1  # voxels of one channel: flat indices are 32-bit


def serves(*inputs: Tensor | None, by: tuple[Tensor, ...] = ()) -> bool:
    """Whether the compiled form of an operation may be used.

    It may for float32 on the CPU where numba is installed and not switched off, unless a derivative
    is asked for that it does not have.

    Args:
        inputs: all tensors that the operation reads; None is ignored.
        by: those among them by which the compiled form can be differentiated.
    """
    there = [x for x in inputs if x is not None]
    if not all(_plain(x) for x in there) or not available():
        return False
    if not torch.is_grad_enabled():
        return True
    return not any(x.requires_grad and not any(x is y for y in by) for x in there)


def _plain(x: Tensor) -> bool:
    """Whether a tensor is what the loops take; subclasses and traced tensors are not."""
    kind = type(x) is Tensor or type(x) is torch.nn.Parameter
    return kind and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() <= _LARGEST


def available() -> bool:
    """Whether numba is installed and not switched off by REGREFINE_NUMBA=0."""
    return os.environ.get(SWITCH, "1") != "0" and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@lru_cache(maxsize=16)
def loops(name: str) -> ModuleType:
    """Return the module of loops/ of that name; the first call imports numba (half a second)."""
    return importlib.import_module(f".loops.{name}", __package__)
