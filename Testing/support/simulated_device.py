"""The simulated device (simulated_device.cpp), built once where there is a C++ compiler.

device = simulated_device.load()     # None without a compiler; `why_not` says it
torch.rand(3, device=simulated_device.NAME)
"""

from __future__ import annotations

import shutil
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

NAME = "privateuseone"  # torch's name for a backend that is not its own
SOURCE = Path(__file__).with_suffix(".cpp")


def why_not() -> str:
    """Return why there can be no simulated device, or ""."""
    if shutil.which("c++") is None and shutil.which("g++") is None:
        return "no C++ compiler: the simulated device cannot be built"
    if shutil.which("ninja") is None:
        return "no ninja: the simulated device cannot be built"
    return ""


@lru_cache(maxsize=1)
def load() -> Any:
    """Return the extension, built where it is not yet (a minute), with its device made known."""
    from torch.utils.cpp_extension import load as build

    built = build("regrefine_simulated_device", [str(SOURCE)], extra_cflags=["-O0", "-std=c++20"])
    module = types.ModuleType(f"torch.{NAME}")
    module.is_available = lambda: True  # type: ignore[attr-defined]
    module.device_count = lambda: 1  # type: ignore[attr-defined]
    module.current_device = lambda: 0  # type: ignore[attr-defined]
    module.is_initialized = lambda: True  # type: ignore[attr-defined]
    module._is_in_bad_fork = lambda: False  # type: ignore[attr-defined]
    module.manual_seed_all = lambda seed: None  # type: ignore[attr-defined]
    module.synchronize = lambda *_: None  # type: ignore[attr-defined]
    module.empty_cache = lambda: None  # type: ignore[attr-defined]
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]
    module.max_memory_allocated = lambda *_: built.counts()["peak"]  # type: ignore[attr-defined]
    torch.utils.rename_privateuse1_backend(NAME)  # torch takes it for registered then
    torch._register_device_module(NAME, module)
    return built


@contextmanager
def refusing(*operations: str, float64: bool = False) -> Iterator[None]:
    """Have the device refuse operations ("aten::take") and float64 while the body runs."""
    load().refuse(float64, set(operations))
    try:
        yield
    finally:
        load().refuse(False, set())


@contextmanager
def failing(at: int = 0, limit_bytes: int = 0) -> Iterator[None]:
    """Have the n-th allocation fail, or each beyond a limit, while the body runs."""
    load().fail(at, limit_bytes)
    try:
        yield
    finally:
        load().fail(0, 0)
