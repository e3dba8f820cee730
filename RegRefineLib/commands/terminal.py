"""What the commands show: lines, events as JSON, and tables."""

from __future__ import annotations

import sys

from ..errors import RegRefineError
from ..job import Progress
from ..judgement import table
from ..progress_bar import Bar

__all__ = ["Bar", "Events", "Quiet", "Verbose", "say", "show_table", "table"]


def say(text: str = "") -> None:
    """Write a line to standard output."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RegRefineError(f"standard output cannot be written ({error.strerror})") from error


class Events:
    """A report callback that writes each step as a line of JSON on standard output."""

    def __call__(self, progress: Progress) -> None:
        """Write one step."""
        say(progress.to_line())

    def close(self) -> None:
        """Nothing to take away."""


class Quiet:
    """A report callback that writes warnings alone, on standard error."""

    def __call__(self, progress: Progress) -> None:
        """Write a warning."""
        if progress.warning:
            sys.stderr.write(f"warning: {progress.message}\n")

    def close(self) -> None:
        """Nothing to take away."""


class Verbose(Quiet):
    """A report callback that writes a line for every step, on standard error."""

    def __call__(self, progress: Progress) -> None:
        """Write a step's stage, number, loss, metrics and message."""
        super().__call__(progress)
        if progress.warning:
            return
        step = f" {progress.step + 1}/{progress.steps}" if progress.steps else ""
        values = {**progress.loss, **progress.metrics}
        shown = "".join(f" {name} {value:.4g}" for name, value in values.items())
        told = f" {progress.message}" if progress.message else ""
        sys.stderr.write(f"{progress.elapsed_s:8.1f} s {progress.stage}{step}{shown}{told}\n")


def show_table(rows: list[list[str]], left: bool = False) -> None:
    """Write rows of text in aligned columns: numbers to the right, or all columns to the left."""
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        first, rest = row[0].ljust(widths[0]), row[1:]
        cells = [
            cell.ljust(w) if left else cell.rjust(w)
            for cell, w in zip(rest, widths[1:], strict=True)
        ]
        say("  ".join([first, *cells]).rstrip())
