"""The log of a training: a CSV file that a resumed run continues, and its plot."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..io.paths import written_aside
from ..plots import charts

COLUMNS = (
    "step", "total", "similarity", "smoothness", "dice_loss", "field_loss", "learning_rate",
    "seconds", "validation_dice", "validation_folds_percent",
)  # fmt: skip
CURVES = ("total", "similarity", "smoothness", "dice_loss", "field_loss", "validation_dice")
POINTS = 200


class Log:
    """Rows of metrics, one per step.

    Args:
        path: a CSV file, created or continued without the rows from `step` on, which a killed run
            wrote and the resumed run repeats.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [row for row in rows(path) if row["step"] < step] if path.is_file() else []
        with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; columns that it has not stay empty."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(dict(row))


def rows(path: Path) -> list[dict[str, float]]:
    """Return the whole rows of a log, without the columns that are empty in them."""
    with path.open(newline="", encoding="utf-8") as file:
        found = []
        for row in csv.DictReader(file):
            if None in row.values():  # cut short when the run was killed
                continue
            found.append({name: float(value) for name, value in row.items() if value})
    return [row for row in found if "step" in row]


def plot(records: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the curves of a log as a PNG: means over as many steps as make them readable."""
    figure = Figure(figsize=(10, 5), dpi=110, facecolor=charts.PAPER)
    axis = figure.add_subplot()
    for name in CURVES:
        points = [(r["step"] + 1, r[name]) for r in records if name in r]
        if points:
            steps, values = _means(np.array(points))
            axis.plot(steps, values, label=name.replace("_", " "), linewidth=1.6)
    charts.plain(axis, "mean over steps")
    axis.set_xlabel("step", color=charts.INK)
    if records:
        axis.legend(
            frameon=False, labelcolor=charts.INK, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    FigureCanvasAgg(figure)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", facecolor=charts.PAPER, bbox_inches="tight")


def _means(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most POINTS means of consecutive points (n, 2)."""
    groups = np.array_split(points, min(POINTS, len(points)))
    means = np.array([group.mean(axis=0) for group in groups])
    return means[:, 0], means[:, 1]
