"""Devices and memory: what is available, what a run used, and how to recover when it runs out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psutil
import torch
import torch.nn.functional as F

from . import limits
from .errors import RegRefineError

GPUS = ("cuda", "mps", "xpu")  # in the order in which `auto` looks for them


def device(wanted: str) -> str:
    """Return the device to run on; `auto` picks a GPU if one supports all that a run needs.

    Raises:
        RegRefineError: the requested device is missing, or lacks what a run needs.
    """
    return choose_device(wanted)[0]


def choose_device(wanted: str) -> tuple[str, str]:
    """Return the device to run on, and the reason if `auto` leaves a GPU unused (otherwise "").

    Raises:
        RegRefineError: the requested device is missing, or lacks what a run needs.
    """
    if wanted != "auto":
        _check_there(wanted)
        lacking = "" if wanted == "cpu" else shortcoming(wanted)
        if lacking:
            raise RegRefineError(
                f"device: {wanted} cannot be used with torch {torch.__version__} ({lacking}); use "
                "--device auto or cpu, or a newer torch"
            )
        return wanted, ""
    for kind in GPUS:
        if _is_there(kind):
            lacking = shortcoming(kind)
            if not lacking:
                return kind, ""
            return "cpu", (
                f"running on the CPU, because torch {torch.__version__} cannot do on {kind} what "
                f"a run needs ({lacking})"
            )
    return "cpu", ""


def _is_there(kind: str) -> bool:
    module = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    return module is not None and bool(module.is_available())


def _check_there(wanted: str) -> None:
    kind, _, number = wanted.partition(":")
    if kind == "cpu":
        return
    if not _is_there(kind):
        raise RegRefineError(f"device: no {wanted} here; use --device auto or cpu")
    count = getattr(torch, kind).device_count()
    if number and int(number) >= count:
        raise RegRefineError(f"device: no {wanted} here; there are {count}, counted from 0")


@lru_cache(maxsize=8)
def shortcoming(name: str) -> str:
    """Return the operations needed by every run that a device lacks, "" if none.

    Found by trying, forwards and backwards, on a few voxels: torch gained these operations on MPS
    one by one, and a build of torch may lack the kernels for an old GPU.
    """
    try:
        image = torch.rand(1, 1, 4, 4, 4, device=name)
        points = torch.rand(1, 3, 3, 3, 3, device=name, requires_grad=True)
        sampled = F.grid_sample(image, points, padding_mode="border", align_corners=True)
        nearest = F.grid_sample(image, points, mode="nearest", align_corners=True)
        kernel = torch.ones(1, 1, 3, 3, 3, device=name, requires_grad=True)
        filtered = F.conv3d(F.avg_pool3d(sampled, 3, 1, 1), kernel, padding=1)
        larger = F.interpolate(filtered, (6, 6, 6), mode="trilinear", align_corners=False)
        (larger.square().mean() + nearest.mean()).backward()
        torch.rand(3, 2, device=name).sort(dim=0)
    except (NotImplementedError, RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0][:150]
    return ""


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products in full precision while the body runs.

    TF32, which torch enables for cuDNN's convolutions by default and a user may enable for all
    products, keeps ten bits: too few for variances computed as differences of window sums.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def synchronise(name: str) -> None:
    """Wait until a device has finished all queued work, for correct timing."""
    if name != "cpu":
        _module(name).synchronize()


def device_cache(maxsize: int) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like lru_cache for tensors that lie on a device; `release` empties it."""

    def decorate(function: Callable[..., Any]) -> Any:
        cached = lru_cache(maxsize)(function)
        _caches.append(cached.cache_clear)
        return cached

    return decorate


_caches: list[Callable[[], None]] = []


def release(name: str) -> None:
    """Free all unused memory of a device, such as after a failed attempt.

    Call it outside the `except` block, where the traceback still holds the failed attempt's
    tensors.
    """
    for clear in _caches:
        clear()
    gc.collect()
    if name != "cpu" and hasattr(_module(name), "empty_cache"):
        _module(name).empty_cache()
    give_back()


def _module(name: str) -> Any:
    """Return torch's module for a type of device, such as torch.cuda."""
    return getattr(torch, name.partition(":")[0])


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for new ones (Linux with glibc).

    By default glibc returns every large block to the system at once, and a third of the time of a
    full-resolution step is spent on getting its pages again. For programs that mainly register
    images, never for a library.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def give_back() -> None:
    """Return freed memory to the system (Linux with glibc), after a stage that frees much of it."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None if there is none."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)


def start_counting(name: str) -> None:
    """Reset the count of a GPU's peak memory."""
    if hasattr(_module(name), "reset_peak_memory_stats"):
        _module(name).reset_peak_memory_stats(name)


def peak_mb(name: str) -> float:
    """Return the peak memory in MB: the GPU's since `start_counting`, else the process's so far.

    MPS records no peak; the memory held by its driver is the closest substitute.
    """
    module = _module(name)
    if hasattr(module, "max_memory_allocated"):
        return float(module.max_memory_allocated(name)) / 2**20
    if hasattr(module, "driver_allocated_memory"):
        return float(module.driver_allocated_memory()) / 2**20
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # psutil has no peak on these systems

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def free_bytes(name: str) -> int | None:
    """Return the memory available to a run on a device, None if the system does not report it.

    Unused memory in this process's own cache counts as free. On a CPU the limits of containers,
    shells and batch systems apply.
    """
    if name == "cpu":
        return limits.free_memory()
    module = _module(name)
    if hasattr(module, "mem_get_info"):
        index = torch.device(name).index  # torch before 2.5 wants a number
        free = module.mem_get_info(module.current_device() if index is None else index)[0]
        cached = module.memory_reserved(name) - module.memory_allocated(name)
        return int(free) + int(cached)
    if hasattr(module, "recommended_max_memory"):
        return int(module.recommended_max_memory() - module.current_allocated_memory())
    return None


# messages by which CUDA, cuDNN, cuBLAS, Metal and CPU allocators report it in a general exception
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "failed to allocate",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to find an engine",  # cuDNN, where no algorithm's workspace fits
    "invalid buffer size",  # Metal, for a tensor beyond what one buffer may hold
)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception means that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)
