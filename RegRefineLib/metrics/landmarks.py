"""Target registration error: the distance of mapped landmarks from their counterparts.

RegRefine's own metrics interpolate the field linearly; Learn2Reg uses cubic splines, which
overshoot on rough fields. State which was used.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from ..geometry import DisplacementField, FloatArray

ORDERS = {"linear": 1, "cubic": 3}


def sample(
    displacement: FloatArray, points: ArrayLike, interpolation: str = "linear"
) -> FloatArray:
    """Return the displacement (3, k, j, i) at points (n, 3), both along array axes: (n, 3).

    Points outside the grid get the displacement of the nearest face, as Slicer's transforms do.
    """
    if interpolation not in ORDERS:
        raise ValueError(f"interpolation: one of {', '.join(ORDERS)}, got {interpolation!r}")
    u = np.asarray(displacement, dtype=np.float64)
    index = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    index = np.clip(index, 0, np.array(u.shape[1:]) - 1).T
    order = ORDERS[interpolation]
    # inside the grid "mirror" is what map_coordinates' default mode gives, which Learn2Reg uses
    return np.stack(
        [ndimage.map_coordinates(c, index, order=order, mode="mirror") for c in u], axis=-1
    )


def voxel_errors(
    fixed: ArrayLike,
    moving: ArrayLike,
    displacement: FloatArray,
    spacing: ArrayLike,
    interpolation: str = "linear",
) -> FloatArray:
    """Return |p + u(p) - q| in mm (n,) of landmarks in voxel indices (Learn2Reg's form).

    Args:
        fixed, moving: p and q (n, 3), indices along array axes.
        displacement: (3, k, j, i) in voxels.
        spacing: mm per voxel of the moving image in array order; the axes taken as orthogonal.
    """
    p, q = _pairs(fixed, moving)
    gap = p + sample(displacement, p, interpolation) - q
    return np.linalg.norm(gap * np.asarray(spacing, dtype=np.float64), axis=1)


def errors(
    fixed: ArrayLike,
    moving: ArrayLike,
    field: DisplacementField,
    interpolation: str = "linear",
) -> FloatArray:
    """Return |p + u(p) - q| in mm (n,) of landmarks p (fixed) and q (moving), (n, 3) RAS mm."""
    p, q = _pairs(fixed, moving)
    index = field.geometry.to_index(p)
    u = sample(np.moveaxis(field.vectors, -1, 0), index[:, ::-1], interpolation)
    u += field.beyond(index - np.clip(index, 0, np.array(field.geometry.shape[::-1]) - 1))
    return np.linalg.norm(p + u - q, axis=1)


def distances(moved: ArrayLike, moving: ArrayLike) -> FloatArray:
    """Return the distance (n,) in mm of each moved point (n, 3) from its partner."""
    p, q = _pairs(moved, moving)
    return np.linalg.norm(p - q, axis=1)


def worst_mean(values: ArrayLike, share: float = 0.3) -> float:
    """Return the mean of the largest `share` of the errors, at least one (TRE30); NaN if empty."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        return math.nan
    count = max(1, math.ceil(share * len(ordered) - 1e-9))
    return float(ordered[-count:].mean())


def _pairs(fixed: ArrayLike, moving: ArrayLike) -> tuple[FloatArray, FloatArray]:
    p, q = (np.asarray(points, dtype=np.float64) for points in (fixed, moving))
    if p.ndim != 2 or p.shape[1] != 3 or p.shape != q.shape:
        raise ValueError(f"landmarks: two lists (n, 3) of one length, got {p.shape}, {q.shape}")
    return p, q
