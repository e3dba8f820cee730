"""How a loop is compiled, and where the result is kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit
from numba.core.errors import NumbaError

from ..announce import about_to_compile

# sums may be reordered within a row; what is not a number stays so
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_UNREADABLE = (OSError, EOFError, pickle.PickleError, AttributeError, ImportError, ValueError)


def loop(function: Callable[..., Any]) -> Any:
    """Return a function compiled at its first call, without Python's lock, and kept on disk.

    numba looks for a folder in NUMBA_CACHE_DIR, beside the source file and in the user's cache;
    where none can be written the function is compiled once per process.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": _FAST,
        "error_model": "numpy",
        "boundscheck": False,
    }
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written
        compiled = njit(**options)(function)
    kept = getattr(compiled, "_cache", None)
    if kept is not None:
        compiled._cache = _Forgiving(kept)
    return compiled


def inline(function: Callable[..., Any]) -> Any:
    """Return a helper of loops in the same file, compiled with them."""
    return njit(fastmath=_FAST, error_model="numpy", boundscheck=False, inline="never")(function)


class _Forgiving:
    """numba's cache on disk, of which no fault is an error: what cannot be read is compiled.

    It announces each compilation, also where there is no cache.
    """

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    def load_overload(self, *arguments: Any) -> Any:
        """Return the kept code, None where there is none that can be read."""
        found = None
        try:
            found = self._kept.load_overload(*arguments)
        except (*_UNREADABLE, KeyError, TypeError, RuntimeError, NumbaError):
            with suppress(OSError):
                self._kept.flush()
        if found is None:
            about_to_compile()
        return found

    def save_overload(self, *arguments: Any) -> None:
        """Keep compiled code; a full or a locked disk keeps nothing."""
        with suppress(*_UNREADABLE):
            self._kept.save_overload(*arguments)
