"""The errors that people read, and the two ways in which a report callback ends a run."""

from __future__ import annotations


class RegRefineError(Exception):
    """Something a user caused and can mend; the message is a sentence that says how."""


class Cancelled(Exception):
    """Raised by a report callback: drop the run."""


class Stopped(Exception):
    """Raised by a report callback: end the run now and keep the best field so far."""
