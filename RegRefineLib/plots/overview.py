"""Figures of a registration: the aligned images, the metrics, and the loss over the steps.

Drawn with matplotlib on a canvas of its own (Agg): no window, no global state of matplotlib's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..geometry import DisplacementField, FloatArray, Volume
from ..io.paths import PathLike, written_aside
from ..job import Extras, Result
from ..judgement import single_value
from ..judgement import stages as stages_of
from ..resample import resample
from . import charts, panels
from .slices import Plane, planes, telling_voxel

MOST_BARS = 28
HEADS = (
    "fixed",
    "moving, at the start",
    "moving, registered",
    "overlay, at the start",
    "overlay, registered",
    "volume change (magenta: folds)",
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What an overview shows. All volumes lie on the fixed grid.

    Attributes:
        fixed: the fixed image.
        before, after: the moving image warped by the linear part alone, and by the whole field.
        field: the whole mapping; `affine` its linear part, fixed RAS mm -> moving RAS mm.
        fixed_labels, before_labels, after_labels: label maps, or None.
        label_names: for the bars.
        dice: per stage (before, affine, after) the value of each label; None counts as 0.
        table: rows of text, the first one the header.
        window: intensities shown black and white in both images; None: each image's own range.
        title: one line.
    """

    fixed: Volume
    before: Volume
    after: Volume
    field: DisplacementField
    affine: FloatArray = dataclasses.field(default_factory=lambda: np.eye(4))
    fixed_labels: Volume | None = None
    before_labels: Volume | None = None
    after_labels: Volume | None = None
    label_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    dice: Mapping[str, Mapping[int, float | None]] = dataclasses.field(default_factory=dict)
    table: Sequence[Sequence[str]] = ()
    window: panels.Window | None = None
    title: str = ""


# figure -> its name in the table and its digits
_ROWS = {
    "dice": ("Dice, mean", 3),
    "hd95_mm": ("HD95, mm", 1),
    "ncc": ("correlation", 3),
    "folds_percent": ("folded voxels, %", 2),
    "sd_log_jacobian": ("SD of ln det J", 3),
    "det_below_0.1_percent": ("volume below 1/10, %", 2),
}


def of_result(result: Result, fixed: Volume, moving: Volume, extras: Extras) -> Comparison:
    """Return the overview of a result; names, window and title are left to the caller."""
    grid, labels = fixed.geometry, extras.moving_labels
    outside = float(moving.array.min())
    stages = stages_of(result)
    start = result.affine if extras.initial is None else extras.initial
    return Comparison(
        fixed,
        resample(moving, grid, start, outside=outside),
        resample(moving, grid, result.field, outside=outside),
        result.field,
        result.affine,
        extras.fixed_labels,
        None if labels is None else resample(labels, grid, start, "nearest"),
        result.warped_labels,
        dice={
            stage: {int(label): v for label, v in metrics["dice"].items() if label != "mean"}
            for stage, metrics in stages.items()
            if "dice" in metrics
        },
        table=_table(stages),
    )


def _table(stages: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    rows = [["", *stages]]
    for name, (title, digits) in _ROWS.items():
        values = [single_value(metrics.get(name)) for metrics in stages.values()]
        if any(value is not None for value in values):
            rows.append([title, *("-" if v is None else f"{v:.{digits}f}" for v in values)])
    return rows


def overview(shown: Comparison, path: PathLike) -> None:
    """Write a PNG: three planes by six panels, with the labels' Dice and a table of metrics below.

    White lines are the fixed image's labels, colours those of the image under them.

    Raises:
        RegRefineError: the file cannot be written.
    """
    cuts = planes(shown.fixed.geometry, telling_voxel(shown.fixed, shown.fixed_labels))
    heights = [cut.size_mm[0] for cut in cuts]
    inches_per_mm = 17.0 / (len(HEADS) * max(cut.size_mm[1] for cut in cuts))
    images_inches = sum(heights) * inches_per_mm + 1.0
    labels = _charted(shown)
    charts_inches = (3.8 if len(labels) > 6 else 2.9) if labels or shown.table else 0.1
    figure = Figure((17.6, images_inches + charts_inches), dpi=110, facecolor=charts.PAPER)
    figure.text(0.012, 1 - 0.3 / figure.get_figheight(), shown.title, color=charts.INK,
                fontsize=16, va="center")  # fmt: skip
    share = charts_inches / figure.get_figheight()
    grid = figure.add_gridspec(
        3, len(HEADS), height_ratios=heights, left=0.012, right=0.988, wspace=0.03, hspace=0.03,
        top=1.0 - 0.9 / figure.get_figheight(), bottom=share,
    )  # fmt: skip
    for row, cut in enumerate(cuts):
        axes = [figure.add_subplot(grid[row, column]) for column in range(len(HEADS))]
        _draw_row(axes, cut, shown)
        for axis, text in zip(axes if row == 0 else (), HEADS, strict=False):
            axis.set_title(text, color=charts.INK, fontsize=12, pad=7)
    _draw_charts(figure, shown, labels, share)
    _save(figure, path)


def _draw_row(axes: Sequence, plane: Plane, shown: Comparison) -> None:
    images = (shown.fixed, shown.before, shown.after)
    shades = [panels.grey(v, plane, shown.window or panels.range_of(v)) for v in images]
    maps = (shown.fixed_labels, shown.before_labels, shown.after_labels)
    for axis, shade, labels in zip(axes, shades, maps, strict=False):
        panels.show_grey(axis, plane, shade)
        if labels is not None:
            panels.tint(axis, plane, plane.cut(labels.array))
        if shown.fixed_labels is not None:
            panels.outline(axis, plane, plane.cut(shown.fixed_labels.array))
    panels.letters(axes[0], plane)
    panels.show_overlay(axes[3], plane, shades[0], shades[1])
    panels.show_overlay(axes[4], plane, shades[0], shades[2])
    panels.show_deformation(axes[5], plane, shown.field, shown.affine)


def _charted(shown: Comparison) -> list[int]:
    """Return the labels that get bars: the largest ones, best first."""
    if not shown.dice:
        return []
    values = list(shown.dice.values())[-1]
    labels = [label for label, value in values.items() if value is not None]
    if len(labels) > MOST_BARS and shown.fixed_labels is not None:
        sizes = np.bincount(shown.fixed_labels.array.ravel(), minlength=max(labels) + 1)
        labels = sorted(labels, key=lambda label: -sizes[label])
    return sorted(labels[:MOST_BARS], key=lambda label: -(values[label] or 0.0))


def _draw_charts(figure: Figure, shown: Comparison, labels: list[int], share: float) -> None:
    left, foot = (0.075, 0.42) if len(labels) > 6 else (0.04, 0.14)  # room for slanted names
    layout = figure.add_gridspec(
        1, 2, width_ratios=[2.1, 1], left=left, right=0.985, wspace=0.08,
        top=share * 0.84, bottom=share * foot,
    )  # fmt: skip
    if labels:
        axis = figure.add_subplot(layout[0])
        values = {
            stage: [metrics.get(label) or 0.0 for label in labels]
            for stage, metrics in shown.dice.items()
        }
        charts.bars(axis, values, [shown.label_names.get(label, str(label)) for label in labels])
        total = sum(value is not None for value in list(shown.dice.values())[-1].values())
        if len(labels) < total:
            text = f"the {len(labels)} largest of {total} structures"
            axis.set_title(text, fontsize=10, color=charts.FAINT, loc="right")
    if shown.table:
        charts.table(figure.add_subplot(layout[1]), shown.table)


def history(records: Sequence[Mapping[str, float]], path: PathLike) -> None:
    """Write a PNG with a curve per term of the loss over the steps.

    Args:
        records: one per step; all but step, level and seconds are terms.

    Raises:
        RegRefineError: the file cannot be written.
    """
    figure = Figure((8.0, 4.5), dpi=110, facecolor=charts.PAPER)
    figure.subplots_adjust(left=0.1, right=0.82, top=0.94, bottom=0.13)
    charts.curves(figure.add_subplot(), records)
    _save(figure, path)


def _save(figure: Figure, path: PathLike) -> None:
    FigureCanvasAgg(figure)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", facecolor=charts.PAPER)
