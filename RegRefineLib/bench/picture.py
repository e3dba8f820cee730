"""A plot of results: mean Dice over CPU seconds, one point per tool, one panel per set.

A point is hollow if the tool completed fewer pairs than others.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..errors import RegRefineError
from ..io.paths import written_aside
from ..plots.charts import INK, PAPER, STAGE_COLOURS, at_least, dashed, plain
from .records import Record
from .sweep import START
from .tools import TOOLS

COLUMNS = 3
LEAST_SPAN = 0.05  # of the axis of Dice: 5 points


def draw(records: Iterable[Record], path: Path) -> None:
    """Write a PNG; a dashed line is the Dice that the tools start from.

    Raises:
        RegRefineError: no run has a Dice; the file cannot be written.
    """
    by_set: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        if "error" not in record and record.get("dice") is not None:
            by_set.setdefault(record["set"], {}).setdefault(record["tool"], []).append(record)
    if not any(tool != START for tools in by_set.values() for tool in tools):
        raise RegRefineError("--picture: none of the results is of a tool that gave a Dice")
    columns = min(COLUMNS, len(by_set))
    rows = -(-len(by_set) // columns)
    figure = Figure((5.8 * columns, 4.2 * rows), dpi=110, facecolor=PAPER, layout="constrained")
    for place, (name, tools) in enumerate(by_set.items(), start=1):
        _panel(figure.add_subplot(rows, columns, place), name, tools)
    FigureCanvasAgg(figure)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", facecolor=PAPER)


def _panel(axis: Axes, name: str, tools: dict[str, list[Record]]) -> None:
    plain(axis, "Dice")
    axis.set_title(name, color=INK, fontsize=12)
    axis.set_xlabel("CPU s", color=INK)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    most = max(len(records) for records in tools.values())
    if START in tools:
        dashed(axis, _dice(tools[START]), START)
    shown = sorted((_seconds(records), tool) for tool, records in tools.items() if tool != START)
    for n, (seconds, tool) in enumerate(shown):
        dice, colour = _dice(tools[tool]), STAGE_COLOURS["affine" if _is_other(tool) else "after"]
        face = colour if len(tools[tool]) == most else PAPER
        axis.plot([seconds], [dice], "o", color=colour, markerfacecolor=face, markersize=6)
        # the names of neighbours alternate above and below
        axis.annotate(tool, (seconds, dice), (5, -11 if n % 2 else 5), textcoords="offset points",
                      color=colour, fontsize=8)  # fmt: skip
    axis.margins(x=0.25, y=0.15)
    at_least(axis, LEAST_SPAN)


def _is_other(tool: str) -> bool:
    """Return whether a tool or a variant of one is not the project's own method."""
    base = tool.split()[0]
    return base == "released" or (base in TOOLS and TOOLS[base].is_peer)


def _dice(records: Sequence[Record]) -> float:
    return statistics.mean(record["dice"] for record in records)


def _seconds(records: Sequence[Record]) -> float:
    return statistics.median(record["cpu_s"] for record in records)
