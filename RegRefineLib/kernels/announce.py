"""Who hears that a loop is about to be compiled, which takes seconds once on each machine.

Without numba, so that a run can ask to be called before it knows whether loops are used at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

SENTENCE = "compiling the loops for this machine, once"
_listeners: list[Callable[[str], None]] = []


@contextmanager
def compiling_announced(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` with SENTENCE at the first compilation while the body runs, from any thread.

    What it raises ends the call of the loop that was to be compiled.
    """

    def once(sentence: str) -> None:
        if once in _listeners:
            _listeners.remove(once)
            listener(sentence)

    _listeners.append(once)
    try:
        yield
    finally:
        if once in _listeners:
            _listeners.remove(once)


def about_to_compile() -> None:
    """Tell all who listen; compiler.py calls it under numba's own lock."""
    for listener in tuple(_listeners):
        listener(SENTENCE)
