"""Distances between the surfaces of two masks, as DeepMind and as MedPy and MONAI define them.

Two notions of a surface are in use, and metrics of one cannot be compared with the other's:

- `surface_distances` (DeepMind, Nikolov et al. 2021): surface elements between the voxels, each
  weighted by its area; Learn2Reg's and Reg-TTR's HD95 and the NSD.
- `border_distances` (MedPy, MONAI): the mask's voxels with a neighbour outside, all alike.

Spacing is in mm in array order, the reverse of `Geometry.spacing`. Empty masks: if both are empty
every metric is NaN; if one is, distances are infinite and overlaps 0. (The surface-distance
package, whose table of areas is used here, fails on them under numpy 2.)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from surface_distance import lookup_tables

from ..geometry import FloatArray

Mask = NDArray[np.bool_]
# how far, in voxels along an axis, and how many neighbours are looked at before a tree is made
_REACH, _WORTH = 3, 57
# elements that are too few for more of that; those for which the tree's threads are worth starting
_FEW, _MANY = 64, 1 << 14


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From every surface element of one mask to the nearest of the other.

    Attributes:
        from_fixed, from_warped: mm, ascending; empty where that mask is.
        fixed_areas, warped_areas: the elements' weights in the same order: mm2, or 1 for voxels.
    """

    from_fixed: FloatArray
    from_warped: FloatArray
    fixed_areas: FloatArray
    warped_areas: FloatArray

    @property
    def nothing(self) -> bool:
        """Whether both masks are empty."""
        return not len(self.from_fixed) and not len(self.from_warped)

    @property
    def one_sided(self) -> bool:
        """Whether just one of the masks is empty."""
        return bool(len(self.from_fixed)) != bool(len(self.from_warped))


@functools.lru_cache(maxsize=8)
def _area_table(spacing: tuple[float, ...]) -> FloatArray:
    """Return the area in mm2 of the surface inside each of the 256 corner patterns of a cube."""
    return np.asarray(lookup_tables.create_table_neighbour_code_to_surface_area(spacing))


def _patterns(mask: Mask) -> NDArray[np.uint8]:
    """Return the corner pattern of the cubes between voxels, each axis one longer than the mask."""
    padded = np.pad(mask, 1).astype(np.uint8)
    weights = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL.astype(np.uint8)
    code = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for corner in np.ndindex(2, 2, 2):
        part = tuple(slice(c, c + n) for c, n in zip(corner, code.shape, strict=True))
        code += weights[corner] * padded[part]
    return code


def _checked(fixed: ArrayLike, warped: ArrayLike, spacing: ArrayLike) -> tuple[Any, Any, Any]:
    a, b = np.asarray(fixed, dtype=bool), np.asarray(warped, dtype=bool)
    mm = tuple(float(s) for s in np.asarray(spacing).ravel())
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"masks: two 3-D masks of one shape are needed, got {a.shape}, {b.shape}")
    if len(mm) != 3 or not all(0 < s < math.inf for s in mm):
        raise ValueError(f"spacing: three positive mm in array order are needed, got {mm}")
    either = a | b
    if not either.any():
        return a[:0, :0, :0], b[:0, :0, :0], mm
    box = ndimage.find_objects(either.view(np.uint8))[0]
    return a[box], b[box], mm


def _nearest(of: Mask, to: Mask, spacing: tuple[float, ...]) -> FloatArray:
    """Return mm from the elements of one set to the nearest of the other (infinite: none).

    In array order. In the pairs of a registration most surfaces are close: an element's neighbours
    are looked at first, nearest first, in all elements at once; a tree finds what is farther.
    """
    shape = tuple(n + 2 * _REACH for n in of.shape)
    inner = (slice(_REACH, -_REACH),) * 3
    near, there = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    near[inner], there[inner] = of, to
    left, flat = np.flatnonzero(near), there.ravel()
    found = np.full(len(left), np.inf)
    targets = np.flatnonzero(flat)
    if not len(targets):
        return found
    which = np.arange(len(left))
    for mm, steps in _shells(spacing):
        offsets = steps @ (shape[1] * shape[2], shape[2], 1)
        hit = flat[left + offsets[0]]
        for offset in offsets[1:]:
            hit |= flat[left + offset]
        found[which[hit]] = mm
        left, which = left[~hit], which[~hit]
        if len(left) < _FEW:
            break
    if len(left):
        found[which] = _farther(_voxels(left, shape), _voxels(targets, shape), spacing)
    return found


@functools.lru_cache(maxsize=8)
def _shells(spacing: tuple[float, ...]) -> list[tuple[float, NDArray[np.intp]]]:
    """Return [(mm, (n, 3) steps), ...], nearest first: the _WORTH shortest steps by their length.

    None is of more than _REACH voxels along an axis, and no shorter one is missing.
    """
    steps = np.indices((2 * _REACH + 1,) * 3).reshape(3, -1).T - _REACH
    mm = _lengths(steps, spacing)
    order = np.argsort(mm, kind="stable")
    complete = mm[order] < (_REACH + 1) * min(spacing)
    order = order[complete][:_WORTH]
    lengths, starts = np.unique(mm[order], return_index=True)
    return list(zip(lengths.tolist(), np.split(steps[order], starts[1:]), strict=True))


def _farther(
    points: NDArray[np.intp], targets: NDArray[np.intp], spacing: tuple[float, ...]
) -> FloatArray:
    """Return mm from every point to the nearest target, both (n, 3) voxels."""
    tree = cKDTree(targets * spacing, compact_nodes=False, balanced_tree=False)
    _, nearest = tree.query(points * spacing, workers=-1 if len(points) > _MANY else 1)
    return _lengths(points - targets[nearest], spacing)


def _voxels(flat: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.intp]:
    return np.stack(np.unravel_index(flat, shape), axis=1)


def _lengths(steps: NDArray[np.intp], spacing: tuple[float, ...]) -> FloatArray:
    """Return mm of steps in whole voxels, so that equal distances are equal numbers."""
    mm: FloatArray = np.sqrt(np.square(steps * np.asarray(spacing)).sum(axis=1))
    return mm


def _border(mask: Mask) -> Mask:
    """Return the voxels with a neighbour across a face that is outside the mask or the box."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for side in (0, 2):
            part = [slice(1, -1)] * 3
            part[axis] = slice(side, side + mask.shape[axis])
            inner &= padded[tuple(part)]
    return mask & ~inner


def surface_distances(fixed: ArrayLike, warped: ArrayLike, spacing: ArrayLike) -> SurfaceDistances:
    """Return the distances between surface elements, weighted by area (DeepMind).

    An element lies between eight voxels of which some, not all, are in the mask; its area is that
    of the surface through the cube they span. The same numbers as the surface-distance package.

    Args:
        fixed, warped: masks of one shape.
        spacing: mm per voxel in array order.
    """
    a, b, mm = _checked(fixed, warped, spacing)
    codes = [_patterns(mask) for mask in (a, b)]
    fixed_edge, warped_edge = ((code != 0) & (code != 255) for code in codes)
    areas = [_area_table(mm)[c[e]] for c, e in zip(codes, (fixed_edge, warped_edge), strict=True)]
    found = [_nearest(fixed_edge, warped_edge, mm), _nearest(warped_edge, fixed_edge, mm)]
    # equal distances are ordered by area as well: the sums then round as the package's do
    order = [np.lexsort((area, mm_)) for area, mm_ in zip(areas, found, strict=True)]
    return SurfaceDistances(
        found[0][order[0]], found[1][order[1]], areas[0][order[0]], areas[1][order[1]]
    )


def border_distances(fixed: ArrayLike, warped: ArrayLike, spacing: ArrayLike) -> SurfaceDistances:
    """Return the distances between border voxels, all of weight 1 (MedPy, MONAI).

    A border voxel has a neighbour across a face that is outside the mask or the volume.
    """
    a, b, mm = _checked(fixed, warped, spacing)
    edges = [_border(mask) for mask in (a, b)]
    found = [np.sort(_nearest(edges[0], edges[1], mm)), np.sort(_nearest(edges[1], edges[0], mm))]
    return SurfaceDistances(*found, *(np.ones(len(mm_)) for mm_ in found))


def hausdorff(distances: SurfaceDistances, percent: float = 95.0) -> float:
    """Return the robust Hausdorff distance in mm: the larger of the two directed percentiles.

    A percentile is the least distance within which `percent` of the area lies (DeepMind).
    """
    if distances.nothing:
        return math.nan
    if distances.one_sided:
        return math.inf
    directed = []
    for mm, areas in _directions(distances):
        share = np.cumsum(areas) / np.sum(areas)
        index = int(np.searchsorted(share, percent / 100.0))
        directed.append(mm[min(index, len(mm) - 1)])
    return float(max(directed))


def hausdorff_each(distances: SurfaceDistances, percent: float = 95.0) -> float:
    """Return the larger of the two directed percentiles, interpolated, weights ignored (MONAI)."""
    if distances.nothing:
        return math.nan
    if distances.one_sided:
        return math.inf
    return float(max(np.percentile(mm, percent) for mm, _ in _directions(distances)))


def hausdorff_pooled(distances: SurfaceDistances, percent: float = 95.0) -> float:
    """Return the percentile of the distances of both directions together (MedPy's hd95)."""
    if distances.nothing:
        return math.nan
    if distances.one_sided:
        return math.inf
    pooled = np.concatenate([distances.from_fixed, distances.from_warped])
    return float(np.percentile(pooled, percent))


def mean_distances(distances: SurfaceDistances) -> tuple[float, float]:
    """Return the weighted mean distances in mm (from fixed to warped, from warped to fixed)."""
    if distances.nothing:
        return math.nan, math.nan
    if distances.one_sided:
        return math.inf, math.inf
    fixed, warped = (float(np.sum(mm * a) / np.sum(a)) for mm, a in _directions(distances))
    return fixed, warped


def assd(distances: SurfaceDistances) -> float:
    """Return the average symmetric surface distance in mm: the mean over both surfaces' elements.

    On `border_distances` it is the ASSD of MedPy, MONAI and FiRework.
    """
    if distances.nothing:
        return math.nan
    if distances.one_sided:
        return math.inf
    total = sum(float(np.sum(mm * a)) for mm, a in _directions(distances))
    return total / sum(float(np.sum(a)) for _, a in _directions(distances))


def overlap_at_tolerance(distances: SurfaceDistances, tolerance_mm: float) -> tuple[float, float]:
    """Return the shares of the fixed and of the warped surface within a tolerance of the other."""
    shares = []
    for mm, areas in _directions(distances):
        whole = np.sum(areas)
        shares.append(float(np.sum(areas[mm <= tolerance_mm]) / whole) if whole else math.nan)
    if distances.one_sided:
        return 0.0, 0.0
    return shares[0], shares[1]


def surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Return the normalised surface Dice (NSD): the share of both surfaces within the tolerance."""
    if distances.nothing:
        return math.nan
    within = sum(float(np.sum(a[mm <= tolerance_mm])) for mm, a in _directions(distances))
    return within / sum(float(np.sum(a)) for _, a in _directions(distances))


def _directions(distances: SurfaceDistances) -> list[tuple[FloatArray, FloatArray]]:
    return [
        (distances.from_fixed, distances.fixed_areas),
        (distances.from_warped, distances.warped_areas),
    ]
