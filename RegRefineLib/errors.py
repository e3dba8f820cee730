"""The errors that users read, and the two ways in which a report callback ends a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RegRefineError(Exception):
    """An error that a user caused and can correct; the message is a sentence that says how."""


class Cancelled(Exception):
    """Raised by a report callback: drop the run."""


class Stopped(Exception):
    """Raised by a report callback: end the run now and keep the best field so far."""


class RegRefineWarning(UserWarning):
    """Warns about an input that is doubtful but was read nonetheless; the message says why."""


def unknown(what: str, name: object, known: Iterable[str]) -> RegRefineError:
    """Return the error for an unknown name; it suggests the closest known ones.

    Args:
        what: the kind of thing that is named, such as "preset" or "setting".
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = f"known: {', '.join(names)}" if names else "there are none"
    return RegRefineError(f"unknown {what} {name!r}; {hint}")
