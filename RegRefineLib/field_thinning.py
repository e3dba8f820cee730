"""Reduce a smooth field to fewer nodes within an error bound, for storage.

Along each axis every f-th node is kept, with f from 1 to LARGEST_FACTOR. Let P_a interpolate the
remaining nodes along axis a. Linear interpolation never increases the largest value, and

    u - P_1 P_2 P_3 u = (u - P_1 u) + P_1 (u - P_2 u) + P_1 P_2 (u - P_3 u),

so the error along all three axes is at most the sum of the errors along each one, which are
measured. Of all factors within the bound, those that leave the fewest nodes are taken.
"""

from __future__ import annotations

import itertools

import numpy as np

from .geometry import DisplacementField, FloatArray, Geometry

LARGEST_FACTOR = 5
FEWEST = 4  # nodes along an axis
TOLERANCE_VOXELS = 0.05


def thinned(
    field: DisplacementField, tolerance_voxels: float = TOLERANCE_VOXELS
) -> DisplacementField:
    """Return the field on a coarser grid that reproduces it by linear interpolation.

    The grid has the same first voxel and extends at least as far.

    Args:
        tolerance_voxels: the largest error at any voxel, in the field's smallest voxel edges; 0:
            the field itself is returned.
    """
    bound = tolerance_voxels * float(field.geometry.spacing.min())
    if bound <= 0:
        return field
    errors = [_errors(field.vectors, axis, bound) for axis in range(3)]
    best = min(
        (
            factors
            for factors in itertools.product(*errors)
            if sum(errors[axis][f] for axis, f in enumerate(factors)) <= bound
        ),
        key=lambda factors: (
            np.prod([_count(n, f) for n, f in zip(field.geometry.shape, factors, strict=True)]),
            max(factors),
        ),
    )
    vectors = field.vectors
    for axis, factor in enumerate(best):
        vectors = _kept(vectors, axis, factor)
    affine = field.geometry.affine.copy()
    affine[:3, :3] *= best[::-1]
    return DisplacementField(vectors, Geometry(vectors.shape[:3], affine))


def _errors(vectors: FloatArray, axis: int, bound: float) -> dict[int, float]:
    """Return the largest error in mm for each admissible factor along an axis."""
    found = {1: 0.0}
    for factor in range(2, LARGEST_FACTOR + 1):
        if _count(vectors.shape[axis], factor) < FEWEST:
            break
        few = vectors[tuple(slice(None, None, 1 if a == axis else 4) for a in range(3))]
        if _error(few, axis, factor) > bound:  # already on a sixteenth of the lines
            break
        error = _error(vectors, axis, factor)
        if error > bound:
            break
        found[factor] = error
    return found


def _error(vectors: FloatArray, axis: int, factor: int) -> float:
    moved = np.moveaxis(vectors, axis, 0)
    kept = _kept(moved, 0, factor)
    largest = 0.0
    for step in range(1, factor):
        there = moved[step::factor]
        share = np.float32(step / factor)
        count = len(there)
        between = kept[:count] * (1 - share) + kept[1 : count + 1] * share
        gap = between - there
        largest = max(largest, float(np.einsum("...c,...c->...", gap, gap).max(initial=0.0)))
    return largest**0.5


def _kept(vectors: FloatArray, axis: int, factor: int) -> FloatArray:
    """Return every `factor`-th node along an axis; the last may lie beyond the field's own."""
    if factor == 1:
        return vectors
    moved = np.moveaxis(vectors, axis, 0)
    kept = moved[::factor]
    if (len(moved) - 1) % factor:
        missing = _count(len(moved), factor) * factor - factor - (len(moved) - 1)
        slope = moved[-1] - moved[-2]
        kept = np.concatenate([kept, (moved[-1] + missing * slope)[None]])
    return np.ascontiguousarray(np.moveaxis(kept, 0, axis))


def _count(n: int, factor: int) -> int:
    """Return how many nodes are left of n."""
    return -(-(n - 1) // factor) + 1
