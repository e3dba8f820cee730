"""The charts of a picture: bars of Dice, a table of metrics, loss curves; and their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

PAPER, INK, FAINT = "#14171c", "#e8eaed", "#8b929c"
STAGE_COLOURS = {"before": "#5c6470", "initial": "#7aa6d8", "affine": "#7aa6d8", "after": "#ffb454"}


def plain(axis: Axes, name: str) -> None:
    """Give an axes the paper's colours, horizontal lines only, and a label on its vertical axis."""
    axis.set_facecolor(PAPER)
    axis.set_axisbelow(True)
    axis.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.7)
    axis.tick_params(colors=INK, labelsize=9, length=0)
    axis.set_ylabel(name, color=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)


def dashed(axis: Axes, value: float, name: str) -> None:
    """Draw a dashed line at a value, with its name at the right."""
    axis.axhline(value, color=FAINT, linestyle="--", linewidth=1)
    axis.annotate(name, (1, value), (-2, 3), xycoords=axis.get_yaxis_transform(),
                  textcoords="offset points", ha="right", color=FAINT, fontsize=8)  # fmt: skip


def at_least(axis: Axes, span: float) -> None:
    """Widen the vertical axis about its centre to `span`, so that small differences look small."""
    low, high = axis.get_ylim()
    if high - low < span:
        middle = (low + high) / 2
        axis.set_ylim(middle - span / 2, middle + span / 2)


def bars(axis: Axes, values: Mapping[str, Sequence[float]], names: Sequence[str]) -> None:
    """Draw a group of bars per structure, a bar per stage.

    Args:
        values: per stage (of STAGE_COLOURS) one value in [0, 1] for each of `names`.
    """
    thickness = 0.8 / len(values)
    for number, (stage, heights) in enumerate(values.items()):
        places = np.arange(len(names)) - 0.4 + (number + 0.5) * thickness
        axis.bar(places, heights, thickness * 0.92, color=STAGE_COLOURS[stage], label=stage)
    turned = len(names) > 6
    axis.set_xticks(
        range(len(names)),
        names,
        rotation=38 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylim(0, 1)
    plain(axis, "Dice")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, labelcolor=INK)


def table(axis: Axes, rows: Sequence[Sequence[str]]) -> None:
    """Write rows of text, the first one as the header; the last column is emphasised."""
    axis.set_axis_off()
    columns = len(rows[0])
    right = 1.0 - 0.2 * np.arange(columns - 1)[::-1]
    for number, row in enumerate(rows):
        for column, (x, text) in enumerate(zip([0.0, *right], row, strict=True)):
            colour = STAGE_COLOURS["after"] if column == columns - 1 else INK
            axis.text(
                x, 1.06 - 0.14 * number, text, color=FAINT if number == 0 else colour,
                fontsize=12, transform=axis.transAxes, ha="right" if column else "left",
                va="center",
            )  # fmt: skip


def curves(axis: Axes, records: Sequence[Mapping[str, float]]) -> None:
    """Draw a curve per term over the steps, named at its end, `total` boldly.

    Where the records' `level` changes, losses are of another grid and the curves are broken.
    """
    steps = np.arange(1, len(records) + 1)
    levels = [record.get("level") for record in records]
    breaks = [n for n in range(1, len(levels)) if levels[n] != levels[n - 1]]
    names = [name for name in (records[0] if records else {}) if name not in _NOT_TERMS]
    ends = []
    for name in names:
        values = [record.get(name, np.nan) for record in records]
        width = 2.8 if name == "total" else 1.4
        line = axis.plot(
            np.insert(steps.astype(float), breaks, np.nan),
            np.insert(np.asarray(values, dtype=float), breaks, np.nan),
            linewidth=width,
            marker="o",
            markersize=width + 1,
        )[0]
        ends.append((values[-1], name, line.get_color()))
    for place in breaks:
        axis.axvline(place + 0.5, color=FAINT, linewidth=0.8, linestyle=":")
    plain(axis, "loss")
    axis.set_xlabel("step", color=INK)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not ends:
        axis.text(0.5, 0.5, "no step was made", color=FAINT, ha="center", transform=axis.transAxes)
        return
    low, high = axis.get_ylim()
    level = -np.inf
    for value, name, colour in sorted(ends):  # names of ends that meet are moved apart
        level = max(value, level + 0.055 * (high - low))
        axis.annotate(name, (steps[-1], level), (8, 0), textcoords="offset points", color=colour,
                      va="center", annotation_clip=False)  # fmt: skip


_NOT_TERMS = frozenset({"step", "level", "seconds", "elapsed_s"})
