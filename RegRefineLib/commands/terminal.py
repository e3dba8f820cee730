"""What the commands show: the progress bar, the events, and the table of metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from ..job import Progress
from ..judgement import single_value

# figure -> its name in tables, its unit and its digits
FIGURES = {
    "dice": ("Dice", "", 3),
    "hd95_mm": ("HD95", "mm", 2),
    "assd_mm": ("ASSD", "mm", 2),
    "tre_mm": ("TRE", "mm", 2),
    "ncc": ("NCC", "", 3),
    "folds_percent": ("folds", "%", 4),
    "sd_log_jacobian": ("SD of ln det J", "", 3),
    "sd_log_jacobian_inside": ("SD of ln det J, body", "", 3),
    "det_below_0.1_percent": ("volume below 1/10", "%", 3),
    "det_below_0.3_percent": ("volume below 3/10", "%", 3),
    "det_above_3_percent": ("volume above 3", "%", 3),
    "det_above_10_percent": ("volume above 10", "%", 3),
    "largest_gradient": ("largest gradient", "", 2),
    "bending_energy": ("bending energy", "1/mm^2", 5),
    "sdlogj": ("Learn2Reg's SD of log(det J + 3)", "", 3),
    "largest_mm": ("largest displacement", "mm", 1),
}


def say(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Bar:
    """A report callback that draws a progress bar with the loss and the time left on stderr.

    There is no bar where stderr is not a terminal.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if progress.warning:
            tqdm.write(f"warning: {progress.message}", file=sys.stderr)
            return
        if progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=progress.steps or None, desc=f"{progress.stage:8}", leave=False, disable=None
            )
        if self._bar is None or not progress.loss:
            return
        if progress.steps and self._bar.total != progress.steps:
            self._bar.total = progress.steps
        self._bar.update(progress.step + 1 - self._bar.n)
        shown = {"loss": f"{progress.loss.get('total', 0.0):.4f}"}
        if "dice" in progress.metrics:
            shown["dice"] = f"{progress.metrics['dice']:.3f}"
        self._bar.set_postfix(shown, refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class Events:
    """A report callback that writes each step as a line of JSON on standard output."""

    def __call__(self, progress: Progress) -> None:
        """Write one step."""
        say(progress.to_line())

    def close(self) -> None:
        """Nothing to take away."""


def table(stages: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return rows of text: a head with the stages' names, then one row per figure that is there."""
    rows = [["", *stages]]
    for name, (title, unit, digits) in FIGURES.items():
        values = [single_value(metrics.get(name)) for metrics in stages.values()]
        if any(value is not None for value in values):
            cells = ["-" if value is None else f"{value:.{digits}f}" for value in values]
            rows.append([f"{title} ({unit})" if unit else title, *cells])
    return rows


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
