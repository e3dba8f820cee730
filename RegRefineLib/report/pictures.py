"""The pictures of a report as data addresses: cuts before and after, deformation, charts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..geometry import FloatArray, Volume
from ..job import Result
from ..metrics.jacobian import of_field
from ..plots import charts, panels
from ..plots.slices import Plane

INCHES = 4.2  # longest edge of a cut
DPI = 110


class Cut(NamedTuple):
    """One plane: what it is called, and its pictures as data addresses."""

    title: str
    before: str
    after: str
    fixed: str
    deformation: str


class Images(NamedTuple):
    """The images of a report, all on the fixed grid; labels where there are some."""

    fixed: Volume
    before: Volume
    after: Volume
    fixed_labels: Volume | None


def cuts(planes: Sequence[Plane], images: Images, result: Result) -> list[Cut]:
    """Return the pictures of planes; lines are the fixed image's labels, or else its edges."""
    windows = [panels.range_of(v) for v in (images.fixed, images.before)]
    found = []
    for plane in planes:
        shades = [
            panels.grey(images.fixed, plane, windows[0]),
            panels.grey(images.before, plane, windows[1]),
            panels.grey(images.after, plane, windows[1]),
        ]
        fixed, before, after = (_cut_of(plane, shade, images) for shade in shades)
        found.append(Cut(plane.name, before, after, fixed, _deformation(plane, result)))
    return found


def jacobian_histogram(result: Result) -> str:
    """Return the histogram of ln det J over the fixed grid; folds are counted beside it."""
    determinant = of_field(result.field).ravel()
    folds = determinant <= 0
    values = np.log(determinant[~folds])

    def draw(axis: Axes) -> None:
        low, high = np.percentile(values, (0.01, 99.99)) if values.size else (-1.0, 1.0)
        counts, edges = np.histogram(values, 120, (min(low, -0.2), max(high, 0.2)))
        middles = (edges[1:] + edges[:-1]) / 2
        colours = ["#c0504d" if m > 0 else "#4f81bd" for m in middles]
        axis.bar(middles, 100 * counts / max(determinant.size, 1), np.diff(edges), color=colours)
        axis.axvline(0, color="#888888", linewidth=0.8)
        axis.set_xlabel("ln det J (0: no change of volume; blue squeezed, red stretched)")
        axis.set_ylabel("% of voxels")
        axis.set_title(f"{100 * folds.mean():.4f} % of voxels fold", fontsize=10)

    return _chart(draw)


def curve(history: Sequence[Mapping[str, float]]) -> str | None:
    """Return the curve of the loss over the steps; None where there are no steps."""
    records = [r for r in history if "total" in r]
    if len(records) < 2:
        return None

    def draw(axis: Axes) -> None:
        levels = [r.get("level") for r in records]
        axis.plot([r["total"] for r in records], color="#4f81bd", linewidth=1.4)
        for n in range(1, len(levels)):
            if levels[n] != levels[n - 1]:
                axis.axvline(n - 0.5, color="#aaaaaa", linewidth=0.8, linestyle="--")
        axis.set_xlabel("step (dashed: the next level of resolution)")
        axis.set_ylabel("loss")

    return _chart(draw)


def landmark_chart(before: FloatArray, after: FloatArray) -> str:
    """Return each landmark's error in mm before and after, sorted by the error after."""
    order = np.argsort(after)

    def draw(axis: Axes) -> None:
        axis.plot(before[order], ".", color="#999999", label="at the start")
        axis.plot(after[order], ".", color="#c0504d", label="after")
        axis.set_xlabel("landmark, by its error after")
        axis.set_ylabel("error in mm")
        axis.legend(frameon=False)

    return _chart(draw)


def _cut_of(plane: Plane, shade: FloatArray, images: Images) -> str:
    def draw(axis: Axes) -> None:
        panels.show_grey(axis, plane, shade)
        if images.fixed_labels is not None:
            panels.outline(axis, plane, plane.cut(images.fixed_labels.array))
        else:
            _edges(axis, plane, images.fixed)
        panels.letters(axis, plane)

    return _plane_picture(plane, draw)


def _edges(axis: Axes, plane: Plane, fixed: Volume) -> None:
    """Draw lines of equal intensity of the fixed image, smoothed: its body's edges."""
    from scipy import ndimage

    cut = ndimage.gaussian_filter(plane.cut(fixed.array).astype(np.float32), 1.5)
    low, high = panels.range_of(fixed)
    height, width = plane.size_mm
    rows, columns = cut.shape
    x = (np.arange(columns) + 0.5) * (width / columns)
    y = (np.arange(rows) + 0.5) * (height / rows)
    levels = [low + share * (high - low) for share in (0.25, 0.6)]
    if cut.min() < levels[-1] and cut.max() > levels[0]:
        axis.contour(x, y, cut, levels, colors=["#ffd54f", "#4fc3f7"], linewidths=0.7)


def _deformation(plane: Plane, result: Result) -> str:
    def draw(axis: Axes) -> None:
        panels.show_deformation(axis, plane, result.field, result.affine)

    return _plane_picture(plane, draw)


def _plane_picture(plane: Plane, draw: Callable[[Axes], None]) -> str:
    height, width = plane.size_mm
    scale = INCHES / max(height, width)
    figure = Figure((width * scale, height * scale), dpi=DPI, facecolor=charts.PAPER)
    draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)))
    return _address(figure, quality=88)


def _chart(draw: Callable[[Axes], None]) -> str:
    """Return a chart as SVG that reads on light and dark paper."""
    figure = Figure((5.6, 3.2))
    axis = figure.add_subplot()
    draw(axis)
    grey = "#808890"
    axis.tick_params(colors=grey)
    for part in (axis.xaxis.label, axis.yaxis.label, axis.title):
        part.set_color(grey)
    for spine in axis.spines.values():
        spine.set_color(grey)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    legend = axis.get_legend()
    for text in legend.get_texts() if legend else ():
        text.set_color(grey)
    figure.tight_layout()
    FigureCanvasAgg(figure)
    target = io.BytesIO()
    figure.savefig(target, format="svg", transparent=True)
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode("ascii")


def _address(figure: Figure, quality: int) -> str:
    FigureCanvasAgg(figure)
    target = io.BytesIO()
    figure.savefig(target, format="jpeg", facecolor=charts.PAPER, pil_kwargs={"quality": quality})
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode("ascii")
