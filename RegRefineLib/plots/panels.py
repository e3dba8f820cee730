"""The image panels of a picture: one cut each, on an axes that belongs to the caller."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..geometry import DisplacementField, FloatArray, Geometry, Volume, transformed
from ..metrics.jacobian import of_field
from .charts import FAINT, INK, PAPER
from .slices import Plane

GRID_MM = 12.0
# volume: blue squeezed, red stretched; magenta where the mapping folds
FOLD = "#ff00ff"
Window = tuple[float, float]


def range_of(volume: Volume) -> Window:
    """Return the intensities to show black and white: percentiles 1 and 99.5 off the background."""
    values = volume.array[volume.array != volume.array.flat[0]]
    sample = values[:: max(1, values.size // 200_000)]
    if sample.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(sample, (1, 99.5))
    return float(low), float(high)


def grey(volume: Volume, plane: Plane, window: Window) -> NDArray:
    """Return the cut (rows, columns) with the window mapped to [0, 1]."""
    low, high = window
    shades = (plane.cut(volume.array).astype(np.float32) - low) / max(high - low, 1e-12)
    return np.clip(shades, 0, 1)


def show(axis: Axes, plane: Plane, image: NDArray, **options: Any) -> Any:
    """Draw a cut (rows, columns[, colour]) in its true proportions, without a frame."""
    height, width = plane.size_mm
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(PAPER)
    extent = (0.0, width, height, 0.0)
    return axis.imshow(image, extent=extent, **{"interpolation": "bilinear", **options})


def show_grey(axis: Axes, plane: Plane, shades: NDArray) -> None:
    """Draw shades (rows, columns) in [0, 1]."""
    show(axis, plane, np.repeat(shades[..., None], 3, axis=-1))


def show_overlay(axis: Axes, plane: Plane, fixed: NDArray, moving: NDArray) -> None:
    """Draw two cuts' shades, fixed magenta and moving green: grey where they agree."""
    show(axis, plane, np.stack([fixed, moving, fixed], axis=-1))


def tint(axis: Axes, plane: Plane, labels: NDArray) -> None:
    """Colour the labels (rows, columns), numbers that are neighbours in unlike hues."""
    colours = colormaps["hsv"]((labels * 0.618034) % 1.0)
    colours[..., 3] = np.where(labels > 0, 0.38, 0.0)
    show(axis, plane, colours, interpolation="nearest")


def outline(axis: Axes, plane: Plane, labels: NDArray) -> None:
    """Draw a white line around each label (rows, columns)."""
    x, y = _centres(plane, labels)
    for label in np.unique(labels[labels > 0]):
        mask = (labels == label).astype(np.float32)
        axis.contour(x, y, mask, [0.5], colors="white", linewidths=0.8)


def letters(axis: Axes, plane: Plane) -> None:
    """Write the patient directions at the four edges."""
    places = (
        (0.5, 0.97, "center", "top"),
        (0.5, 0.03, "center", "bottom"),
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
    )
    shadow = [patheffects.withStroke(linewidth=2.5, foreground="black")]
    for letter, (x, y, side, level) in zip(plane.letters, places, strict=True):
        axis.text(
            x, y, letter, color=INK, fontsize=10, weight="bold", path_effects=shadow,
            transform=axis.transAxes, ha=side, va=level,
        )  # fmt: skip


def show_deformation(
    axis: Axes, plane: Plane, whole: DisplacementField, affine: FloatArray
) -> None:
    """Draw the non-linear part of a mapping: volume change, grid lines, folds.

    The lines are those of a grid in the moving image, `GRID_MM` apart, drawn in the fixed image.
    """
    vectors, within = plane.slab(whole.vectors)
    slab = DisplacementField(vectors, Geometry(vectors.shape[:3], whole.geometry.affine))
    change = within.cut(of_field(slab)) / np.linalg.det(affine[:3, :3])
    doublings = np.log2(np.clip(change, 2.0**-4, 2.0**4))
    picture = show(axis, plane, doublings, cmap="RdBu_r", vmin=-3, vmax=3)
    inverse = np.linalg.inv(affine)
    points = plane.points()
    moved = transformed(inverse, points + plane.cut(whole.vectors))
    x, y = _centres(plane, change)
    for along in (points[0, -1] - points[0, 0], points[-1, 0] - points[0, 0]):
        place = moved @ (along / np.linalg.norm(along))
        levels = np.arange(place.min(), place.max() + GRID_MM, GRID_MM)
        axis.contour(
            x, y, place, levels, colors="black", linestyles="solid", linewidths=0.5, alpha=0.7
        )
    if (change <= 0).any():
        axis.contourf(x, y, change, [-1e9, 0.0], colors=[FOLD])
    if plane.name == "axial":
        _scale(axis, picture)


def _scale(axis: Axes, picture: Any) -> None:
    axis.add_patch(
        Rectangle((0.02, 0.02), 0.5, 0.15, transform=axis.transAxes, facecolor=PAPER, zorder=5)
    )
    bar = axis.inset_axes((0.06, 0.05, 0.42, 0.035), zorder=6)
    axis.figure.colorbar(picture, cax=bar, orientation="horizontal", ticks=[-2, 0, 2])
    bar.set_xticklabels(["÷ 4", "same", "× 4"], fontsize=8, color=INK)
    bar.xaxis.set_ticks_position("top")
    bar.tick_params(length=0, pad=1)
    for spine in bar.spines.values():
        spine.set_color(FAINT)


def _centres(plane: Plane, cut: NDArray) -> tuple[FloatArray, FloatArray]:
    rows, columns = cut.shape[:2]
    height, width = plane.size_mm
    x = (np.arange(columns) + 0.5) * (width / columns)
    y = (np.arange(rows) + 0.5) * (height / rows)
    return x, y
