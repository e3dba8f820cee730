"""Roughness of a mapping, which folds alone do not show.

A field may be free of folds and still compress tissue to a fiftieth of its volume next to voxels
that grow tenfold. The spread of ln det J, the shares of voxels beyond given volume changes, the
largest gradient and the bending energy reveal this. All are computed from numpy.gradient's
determinants (jacobian.py).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import DisplacementField, FloatArray

# a fold counts as compression to a hundredth: with ln 0 one voxel would dominate the metric
LEAST, MOST = 1e-2, 1e2
SLAB = 16  # planes


def sd_log_jacobian(determinants: FloatArray, inside: NDArray[np.bool_] | None = None) -> float:
    """Return the standard deviation of ln det J, det J clamped to [LEAST, MOST].

    It is the same for a field with and without a linear part.

    Args:
        inside: only these voxels; None: all. NaN where there are none.
    """
    chosen = determinants if inside is None else determinants[inside]
    if not chosen.size:
        return math.nan
    return float(np.std(np.log(np.clip(chosen, LEAST, MOST)), dtype=np.float64))


def below_percent(determinants: FloatArray, limit: float) -> float:
    """Return the percentage of voxels whose volume shrinks to less than `limit` of itself."""
    return 100.0 * float(np.mean(determinants < limit)) if determinants.size else math.nan


def above_percent(determinants: FloatArray, limit: float) -> float:
    """Return the percentage of voxels whose volume grows to more than `limit` times itself."""
    return 100.0 * float(np.mean(determinants > limit)) if determinants.size else math.nan


def gradient_and_bending(field: DisplacementField) -> tuple[float, float]:
    """Return the largest Frobenius norm of grad u, and the mean bending energy in 1/mm^2.

    The bending energy is the sum of all squared second derivatives of u (Rueckert 1999,
    doi:10.1109/42.796284), by central differences within the grid; axes of fewer than three voxels
    have none. Some planes at a time: there are 27 second derivatives.
    """
    vectors = np.moveaxis(field.vectors, -1, 0)
    edges = [float(edge) for edge in field.geometry.spacing[::-1]]
    depth = vectors.shape[1]
    largest, total = 0.0, 0.0
    for first in range(0, depth, SLAB):
        stop = min(first + SLAB, depth)
        low, high = max(0, first - 1), min(depth, stop + 1)
        squares = np.zeros((high - low, *vectors.shape[2:]), vectors.dtype)
        own = slice(first - low, stop - low)
        for component in vectors[:, low:high]:
            slopes = [_slope(component, axis, edges) for axis in range(3)]
            for slope in slopes:
                squares += slope * slope
            total += _bending(component, slopes, edges, own)
        largest = max(largest, float(squares[own].max(initial=0.0)))
    return math.sqrt(largest), total / max(1, vectors[0].size)


def _slope(values: FloatArray, axis: int, edges: list[float]) -> FloatArray:
    if values.shape[axis] == 1:
        return np.zeros_like(values)
    return np.gradient(values, edges[axis], axis=axis)


def _bending(values: FloatArray, slopes: list[FloatArray], edges: list[float], own: slice) -> float:
    """Return the sum over the planes `own` of one component's squared second derivatives."""
    total = 0.0
    for axis in range(3):
        pure = _central(values, axis, middle=True) / edges[axis] ** 2
        total += _square_sum(pure, axis, own)
        for other in range(axis):
            mixed = _central(slopes[other], axis) / (2 * edges[axis])
            total += 2.0 * _square_sum(mixed, axis, own)
    return total


def _central(values: FloatArray, axis: int, middle: bool = False) -> FloatArray:
    """Return f(+1) - f(-1), or f(+1) - 2 f + f(-1), where both neighbours exist."""
    n = values.shape[axis]
    if n < 3:
        return np.zeros((0,) * values.ndim, values.dtype)
    parts = [
        values[tuple(slice(k, n - 2 + k) if a == axis else slice(None) for a in range(3))]
        for k in (0, 1, 2)
    ]
    return parts[2] - 2 * parts[1] + parts[0] if middle else parts[2] - parts[0]


def _square_sum(values: FloatArray, axis: int, own: slice) -> float:
    """Return the sum of squares; along axis 0 the first plane of `values` is the slab's second."""
    if not values.size:
        return 0.0
    planes = slice(max(0, own.start - 1), own.stop - 1) if axis == 0 else own
    kept = values[planes].ravel()
    return float(np.dot(kept, kept))


def body(image: FloatArray) -> NDArray[np.bool_]:
    """Return the mask of the body in an image (k, j, i), without the empty space around it.

    Above half of Otsu's threshold (Otsu 1979), counted from the lowest intensity, including
    cavities that are closed within the volume, such as lungs, bowel and ventricles. If that is
    empty, all voxels.
    """
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.ones(values.shape, bool)
    bright = values > low + 0.5 * (_otsu(values, low, high) - low)
    outside, count = ndimage.label(~bright)
    faces = [np.unique(np.take(outside, end, axis)) for axis in range(3) for end in (0, -1)]
    reaches = np.zeros(count + 1, bool)
    reaches[np.concatenate(faces)] = True
    reaches[0] = False
    inside = ~reaches[outside]
    return inside if inside.any() else np.ones(values.shape, bool)


def _otsu(values: FloatArray, low: float, high: float) -> float:
    """Return the threshold with the largest variance between what lies below and above it."""
    counts, edges = np.histogram(values[:: max(1, values.shape[0] // 64)], 256, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])
