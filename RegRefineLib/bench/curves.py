"""A plot of accuracy against run time: Dice and folds over CPU seconds, one line per tool.

A point is a tool's row or a variant of it: the mean Dice and folds of its pairs over the median CPU
seconds of the whole process. It is hollow if the tool completed fewer pairs than others. Each set
has two panels.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ..errors import RegRefineError
from ..io.paths import written_aside
from ..plots.charts import FAINT, INK, PAPER, STAGE_COLOURS, at_least, dashed, plain
from .picture import LEAST_SPAN
from .records import Record
from .sweep import START

COLUMNS = 3
OURS = STAGE_COLOURS["after"]
OTHERS = (STAGE_COLOURS["affine"], "#8cc6a0", "#b9dcc4", "#c49bd4", "#e08f86", "#d6d3a0", FAINT)
FOLDS_SHOWN = 1e-3  # % of voxels below which the axis of folds is linear, so that 0 is on it


class Point(NamedTuple):
    """One budget of one tool on one set."""

    seconds: float
    dice: float
    folds: float
    pairs: int


def points(records: Iterable[Record], curves: Mapping[str, Sequence[str]]) -> dict[str, dict]:
    """Return {set: {curve: [Point, ...] in the order of seconds}}, sets as they first appear."""
    runs: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        if record.get("dice") is not None and record.get("cpu_s"):
            runs.setdefault(record["set"], {}).setdefault(record["tool"], []).append(record)
    found: dict[str, dict] = {}
    for name, tools in runs.items():
        lines = {
            curve: sorted(_point(tools[tool]) for tool in members if tool in tools)
            for curve, members in curves.items()
        }
        if any(lines.values()):
            found[name] = {curve: line for curve, line in lines.items() if line}
    return found


def draw(records: Iterable[Record], curves: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write a PNG; the first curve stands out, a dashed line is the Dice the tools start from.

    Raises:
        RegRefineError: none of the runs belongs to a curve; the file cannot be written.
    """
    records = list(records)
    sets = points(records, curves)
    if not sets:
        raise RegRefineError("--curves: none of the results is of a tool on a curve")
    columns = min(COLUMNS, len(sets))
    blocks = -(-len(sets) // columns)
    figure = Figure(
        (1.2 + 4.6 * columns, 0.7 + 6.2 * blocks), dpi=110, facecolor=PAPER, layout="constrained"
    )
    colours = dict(zip(curves, [OURS, *_some(cycle(OTHERS), len(curves) - 1)], strict=True))
    grid = figure.add_gridspec(2 * blocks, columns, height_ratios=[5, 3] * blocks)
    handles: dict[str, Line2D] = {}
    for n, (name, lines) in enumerate(sets.items()):
        row, column = 2 * (n // columns), n % columns
        upper = figure.add_subplot(grid[row, column])
        lower = figure.add_subplot(grid[row + 1, column], sharex=upper)
        starts = [r["dice"] for r in records if r["set"] == name and r["tool"] == START]
        _axes(upper, lower, name, [dice for dice in starts if dice is not None])
        most = max(point.pairs for line in lines.values() for point in line)
        for curve, line in lines.items():
            drawn = _line(upper, [p.dice for p in line], line, most, colours[curve])
            _line(lower, [p.folds for p in line], line, most, colours[curve])
            handles.setdefault(curve, drawn)
        at_least(upper, LEAST_SPAN)
    shown = [curve for curve in curves if curve in handles]
    figure.legend([handles[c] for c in shown], shown, loc="outside upper center",
                  ncols=min(len(shown), 3 * columns), frameon=False, labelcolor=INK)  # fmt: skip
    FigureCanvasAgg(figure)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", facecolor=PAPER)


def _point(records: Sequence[Record]) -> Point:
    folds = [r["folds_percent"] for r in records if r.get("folds_percent") is not None]
    return Point(
        statistics.median(r["cpu_s"] for r in records),
        statistics.mean(r["dice"] for r in records),
        statistics.mean(folds) if folds else 0.0,
        len(records),
    )


def _axes(upper: Axes, lower: Axes, name: str, starts: Sequence[float]) -> None:
    plain(upper, "Dice")
    plain(lower, "folds, % of voxels")
    upper.set_title(name, color=INK, fontsize=12)
    lower.set_xlabel("CPU s", color=INK)
    upper.set_xscale("log")
    lower.set_yscale("symlog", linthresh=FOLDS_SHOWN, linscale=0.5)
    lower.set_yticks([0, 1e-3, 1e-2, 1e-1, 1, 10], ["0", "0.001", "0.01", "0.1", "1", "10"])
    lower.set_ylim(-FOLDS_SHOWN / 3, 20)
    lower.minorticks_off()
    upper.tick_params(labelbottom=False)
    for axis in (upper, lower):
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_formatter(NullFormatter())
    lower.xaxis.set_major_formatter("{x:g}")
    if starts:
        dashed(upper, statistics.mean(starts), START)


def _line(
    axis: Axes, values: Sequence[float], line: Sequence[Point], most: int, colour: str
) -> Line2D:
    """Draw a curve and return what stands for it in the legend."""
    width, size, order = (2.6, 6, 3) if colour == OURS else (1.4, 5, 2)
    seconds = [point.seconds for point in line]
    (drawn,) = axis.plot(
        seconds, values, color=colour, linewidth=width, marker="o", markersize=size, zorder=order
    )
    for x, y, point in zip(seconds, values, line, strict=True):
        if point.pairs < most:
            axis.plot([x], [y], marker="o", markersize=size, color=colour,
                      markerfacecolor=PAPER, zorder=4)  # fmt: skip
    return drawn


def _some(colours: Iterable[str], count: int) -> list[str]:
    return [colour for colour, _ in zip(colours, range(count), strict=False)]
