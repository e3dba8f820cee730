"""A picture of results: mean Dice over CPU seconds, a point per tool, a panel per set."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..formats.disk import written_aside
from ..pictures.charts import FAINT, INK, PAPER, STAGE_COLOURS, plain
from .records import Record
from .sweep import START
from .tools import TOOLS

COLUMNS = 3


def draw(records: Iterable[Record], path: Path) -> None:
    """Write a PNG; a dashed line is the Dice that the tools start from.

    Raises:
        RegRefineError: the file cannot be written.
    """
    by_set: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        if "error" not in record and record.get("dice") is not None:
            by_set.setdefault(record["set"], {}).setdefault(record["tool"], []).append(record)
    columns = min(COLUMNS, max(1, len(by_set)))
    rows = max(1, -(-len(by_set) // columns))
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
    axis.tick_params(which="both", colors=INK, labelsize=9)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    for tool, records in tools.items():
        dice = statistics.mean(r["dice"] for r in records)
        if tool == START:
            axis.axhline(dice, color=FAINT, linestyle="--", linewidth=1)
            continue
        seconds = statistics.median(r["cpu_s"] for r in records)
        own = not (tool in TOOLS and TOOLS[tool].is_peer) and not tool.startswith("greedy")
        colour = STAGE_COLOURS["after" if own else "affine"]
        axis.plot([seconds], [dice], marker="o", color=colour, markersize=6)
        axis.annotate(tool, (seconds, dice), (5, 4), textcoords="offset points", color=colour,
                      fontsize=8)  # fmt: skip
    axis.margins(x=0.25, y=0.15)
