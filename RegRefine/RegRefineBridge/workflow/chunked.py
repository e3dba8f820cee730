"""Long work in short steps: a generator that yields between them and returns what comes of it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]


def finished(steps: Steps[T]) -> T:
    """Return what comes of steps that are taken at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def advance(steps: Steps[T], seconds: float) -> None:
    """Take steps for about so long, one at least.

    The step that ends them raises StopIteration, whose value is what came of them.
    """
    end = time.monotonic() + seconds
    next(steps)
    while time.monotonic() < end:
        next(steps)
