"""Taper a field to zero outside its grid, so that all programs extrapolate it alike.

Outside the grid of a displacement field, Slicer repeats the border value, whereas ITK assumes zero.
If the grid is padded by a margin over which the field falls to zero, the two agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .geometry import DisplacementField, FloatArray, transformed

Margin = tuple[int, int, int]
STEEPEST_SLOPE = 2.0 / 3.0
LARGEST_GRADIENT = 0.5
LARGEST_GROWTH = 4.0
SMALL_GRID_VOXELS = 1_000_000


class GridAndMatrix(NamedTuple):
    """A mapping of all space: a field that is zero on its border, then a 4x4 (None: identity)."""

    grid: DisplacementField
    matrix: FloatArray | None = None


def everywhere(field: DisplacementField, linear: FloatArray) -> GridAndMatrix:
    """Return a field as a mapping that every program extrapolates in the same way.

    It is a single padded and tapered grid unless the margin would make that grid too large, as a
    large linear part can. In that case the grid holds only the remainder, and the linear part,
    which also holds outside it, is kept as a separate 4x4.

    Args:
        linear: the 4x4 part of the field.
    """
    margin = needed_margin(field)
    if growth(field, margin) <= _growth_limit(field):
        return GridAndMatrix(tapered(field, margin))
    points = field.geometry.points()
    inverse = np.linalg.inv(linear)
    rest = transformed(inverse, points + field.vectors) - points
    field = DisplacementField(rest.astype(field.vectors.dtype), field.geometry)
    return GridAndMatrix(tapered(field, _bounded(field, needed_margin(field))), linear)


def needed_margin(field: DisplacementField) -> Margin:
    """Return the margin in voxels (k, j, i) over which the field can fall to zero without folds.

    With border values u of at most D mm and gradients along the border of at most g, the field
    w(x) u that decreases linearly over M mm has the Jacobian det(I + w grad u) (1 + grad w . (I + w
    grad u)^-1 u), whose last factor is at least 1 - D / (M (1 - g)). M is chosen so that this
    factor is at least a third. Gradients above one half count as one half: such a field is close to
    folding anyway.
    """
    largest, gradient = 0.0, 0.0
    for face, spacing in _faces(field):
        largest = max(largest, float(np.linalg.norm(face, axis=-1).max()))
        gradient = max(gradient, _largest_gradient(face, spacing))
    margin_mm = largest / (STEEPEST_SLOPE * (1.0 - min(gradient, LARGEST_GRADIENT)))
    voxels = np.ceil(margin_mm / field.geometry.spacing[::-1] - 1e-9)
    return tuple(max(1, int(n)) for n in voxels)  # type: ignore[return-value]


def tapered(field: DisplacementField, margin: Margin) -> DisplacementField:
    """Return the field on its grid grown by `margin` voxels (k, j, i) on each side.

    Inside, it is unchanged; in the margin, the border values decrease linearly to zero.
    """
    pad = [(m, m) for m in margin]
    vectors = np.pad(field.vectors, [*pad, (0, 0)], mode="edge")
    fall = np.zeros(())
    for axis, (n, m) in enumerate(zip(field.geometry.shape, margin, strict=True)):
        index = np.arange(-m, n + m)
        outside = np.maximum(np.maximum(-index, index - (n - 1)), 0) / max(m, 1)
        fall = np.maximum(fall, outside.reshape([-1 if a == axis else 1 for a in range(3)]))
    vectors *= (1.0 - fall).astype(vectors.dtype)[..., None]
    return DisplacementField(vectors, field.geometry.padded(margin))


def growth(field: DisplacementField, margin: Margin) -> float:
    """Return the factor by which the margin increases the number of voxels."""
    grown = np.prod([n + 2 * m for n, m in zip(field.geometry.shape, margin, strict=True)])
    return float(grown / field.geometry.voxel_count)


def _growth_limit(field: DisplacementField) -> float:
    """Return the largest factor by which padding may increase a grid; larger for small grids."""
    return max(LARGEST_GROWTH, SMALL_GRID_VOXELS / field.geometry.voxel_count)


def _bounded(field: DisplacementField, margin: Margin) -> Margin:
    """Return the margin, shrunk where the grid would grow beyond the limit."""
    while growth(field, margin) > _growth_limit(field) and max(margin) > 1:
        margin = tuple(math.ceil(0.8 * m) if m > 1 else 1 for m in margin)  # type: ignore[assignment]
    return margin


def _faces(field: DisplacementField) -> list[tuple[FloatArray, FloatArray]]:
    """Return the vectors (a, b, 3) on each face of the grid, with the spacing (a, b) in mm."""
    spacing = field.geometry.spacing[::-1]
    faces = []
    for axis in range(3):
        others = np.delete(spacing, axis)
        for end in (0, -1):
            faces.append((np.take(field.vectors, end, axis=axis), others))
    return faces


def _largest_gradient(face: FloatArray, spacing: FloatArray) -> float:
    squared = np.zeros(face.shape[:2])
    for axis in range(2):
        steps = np.diff(face, axis=axis, append=np.take(face, [-1], axis=axis)) / spacing[axis]
        squared += (steps**2).sum(axis=-1)
    return float(np.sqrt(squared.max()))
