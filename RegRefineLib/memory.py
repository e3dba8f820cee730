"""Devices and memory: which there are, what a run took, and what to do when it is too much."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import psutil
import torch

from . import limits
from .errors import RegRefineError


def device(wanted: str) -> str:
    """Return the device to run on: `auto` takes a GPU where there is one.

    Raises:
        RegRefineError: the wanted device is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }[wanted.split(":")[0]]
    if not there:
        raise RegRefineError(f"device: no {wanted} here; use --device auto or cpu")
    if wanted.startswith("cuda:") and int(wanted[5:]) >= torch.cuda.device_count():
        raise RegRefineError(
            f"device: no {wanted} here; there are {torch.cuda.device_count()}, counted from 0"
        )
    return wanted


def keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones (Linux with glibc).

    By default glibc hands every large block back at once, and a third of a full-resolution step
    goes into getting its pages again. For programs whose main work this is, never for a library.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def give_back() -> None:
    """Hand freed memory back to the system (Linux with glibc), where a stage leaves much of it."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None where there is no such."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)


def start_counting(name: str) -> None:
    """Begin to count a GPU's peak memory anew."""
    if name.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(name)


def peak_mb(name: str) -> float:
    """Return the peak memory in MB: the GPU's since `start_counting`, else the process's so far."""
    if name.startswith("cuda"):
        return torch.cuda.max_memory_allocated(name) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # psutil has no peak on these systems

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def free_bytes(name: str) -> int | None:
    """Return the memory that is free on a device, None where the system does not say (MPS).

    On a CPU the limits of containers, shells and batch systems count.
    """
    if name.startswith("cuda"):
        return int(torch.cuda.mem_get_info(name)[0])
    return limits.free_memory() if name == "cpu" else None


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception means that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
