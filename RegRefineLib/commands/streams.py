"""Standard output and error as they may be: closed, of a code page without our characters."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RegRefineWarning


def prepare() -> None:
    """Make both streams ones that can be written, whatever characters a file's name has.

    A closed one is replaced by the null device: else the next file that is opened takes its number,
    and messages end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show what is doubtful about an input as a line on standard error, each once."""
    shown: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", RegRefineWarning)
        show = warnings.showwarning

        def say(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
            if not issubclass(category, RegRefineWarning):
                show(message, category, filename, lineno, file, line)
            elif str(message) not in shown:
                shown.add(str(message))
                sys.stderr.write(f"warning: {' '.join(str(message).split())}\n")

        warnings.showwarning = say
        yield
