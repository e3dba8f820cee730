"""Signals: the first Ctrl-C keeps the best field so far, the second drops the run; SIGTERM.

For the command line and for scripts; the panel has buttons.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import Stopped
from .job import Progress

Report = Callable[[Progress], None]
MESSAGE = "stopping; the best field so far will be kept (Ctrl-C again drops the run)"


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception within the block, so that half-written files are removed.

    For programs, not libraries. A handler that is already installed is left in place.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def stoppable(report: Report, say: Callable[[str], None] = lambda _: None) -> Iterator[Report]:
    """Yield a report callback that raises Stopped after a Ctrl-C; a second one is left to Python.

    Only the main thread receives signals: in other threads the callback is yielded unchanged. The
    previous handler is restored at the end.

    Args:
        say: called with MESSAGE at the first Ctrl-C.
    """
    usual = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or usual is not signal.default_int_handler:
        yield report
        return
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, usual)
        say(MESSAGE)

    def reporting(progress: Progress) -> None:
        report(progress)
        if asked.is_set():
            raise Stopped

    signal.signal(signal.SIGINT, stop)
    try:
        yield reporting
    finally:
        signal.signal(signal.SIGINT, usual)
