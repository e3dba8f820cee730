"""Resampling volumes to other grids: through a mapping, smoothed before they are downsampled.

SimpleITK does the work, fast and on all cores; fields are applied in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .geometry import DisplacementField, FloatArray, Geometry, Volume, transformed
from .itk_lps import affine_to_transform, field_to_image, from_image, grid_of, to_image

INTERPOLATIONS = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "bspline": sitk.sitkBSpline,
    "sinc": sitk.sitkLanczosWindowedSinc,
}
Mapping = DisplacementField | FloatArray | None

# a voxel is modelled as a Gaussian whose full width at half maximum is its edge length
_SIGMA_PER_EDGE = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def resample(
    source: Volume,
    target: Geometry,
    mapping: Mapping = None,
    interpolation: str = "linear",
    outside: float | None = None,
) -> Volume:
    """Return `source` on the grid `target`: each target point x takes source's value at mapping(x).

    Args:
        mapping: None for the identity, a 4x4 (target RAS mm -> source RAS mm), or a field that
            holds the whole mapping x -> x + u(x). The field may lie on another grid than `target`;
            beyond its own it is extrapolated as `DisplacementField` describes.
        interpolation: linear, nearest, bspline (cubic) or sinc (Lanczos window, five voxels wide);
            the last two may overshoot the source's range.
        outside: the value of points more than half a voxel outside the source's voxel centres.
            None: the source's lowest value (air in a CT), and with nearest 0 (no label).

    Returns:
        With nearest, the source's own pixel type and only values of the source (and `outside`), so
        that one call serves any number of labels; otherwise float32 (float64 for a float64 source).

    Raises:
        ValueError: unknown interpolation; a mapping that is none of the three.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation: one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
        )
    if interpolation != "nearest" and source.array.dtype != np.float64:
        source = Volume(source.array.astype(np.float32, copy=False), source.geometry)
    if outside is None:
        outside = 0.0 if interpolation == "nearest" else float(source.array.min())
    image, mode = to_image(source), INTERPOLATIONS[interpolation]
    if isinstance(mapping, DisplacementField):
        if mapping.linear is not None and not _within(target, mapping.geometry):
            mapping = field_on(mapping, target)  # ITK extrapolates with the border value alone
        moved = _through_field(image, target, mapping, mode, outside)
    else:
        moved = _through_affine(image, target, mapping, mode, outside)
    array = from_image(moved).array
    return Volume(array.astype(source.array.dtype, copy=False), target)


def resample_labels(
    source: Volume, target: Geometry, mapping: Mapping = None, outside: int = 0
) -> Volume:
    """Return a label map on the grid `target` by nearest neighbour, whatever its numbers are.

    Labels are renumbered 0, 1, ... internally, since floating-point numbers cannot hold large ids.
    """
    values, places = np.unique(source.array, return_inverse=True)
    known = np.union1d(values, np.array([outside], dtype=values.dtype))
    numbers = np.searchsorted(known, values)[places].reshape(source.array.shape).astype(np.int32)
    beyond = int(np.searchsorted(known, outside))
    moved = resample(Volume(numbers, source.geometry), target, mapping, "nearest", beyond)
    return Volume(known[moved.array], target)


def as_type(volume: Volume, kind: np.dtype[Any]) -> Volume:
    """Return the volume in another pixel type: rounded and clipped to an integer type's range."""
    if kind.kind not in "iu" or volume.array.dtype == kind:
        return Volume(volume.array.astype(kind, copy=False), volume.geometry)
    limits = np.iinfo(kind)
    array = np.clip(np.rint(volume.array.astype(np.float64)), limits.min, limits.max)
    return Volume(array.astype(kind), volume.geometry)


def covered(moving: Geometry, grid: Geometry, mapping: Mapping = None) -> Volume | None:
    """Return the moving image's field of view on `grid` (1 inside, 0 outside); None if it is all.

    The image ends half a voxel beyond its outermost voxel centres, as in `resample`.

    Args:
        mapping: as `resample` takes it; None: the same space.
    """
    whole = Volume(np.broadcast_to(np.uint8(1), moving.shape), moving)
    inside = resample(whole, grid, mapping, "nearest")
    return None if inside.array.all() else inside


def field_on(
    field: DisplacementField, grid: Geometry, matrix: FloatArray | None = None
) -> DisplacementField:
    """Return the field's vectors, linearly interpolated, at the voxels of `grid`.

    Beyond the field's own grid it is extrapolated as `DisplacementField` describes.

    Args:
        matrix: 4x4, RAS mm -> RAS mm: the vector of a voxel x of `grid` is the field's at matrix x.
    """
    if matrix is None and field.geometry.same_grid(grid):
        return DisplacementField(field.vectors, grid, field.linear)
    to_index = field.geometry.inverse_affine @ (np.eye(4) if matrix is None else matrix)
    last = np.array(field.geometry.shape[::-1]) - 1
    vectors = np.empty((*grid.shape, 3), field.vectors.dtype)
    components = [np.ascontiguousarray(field.vectors[..., c]) for c in range(3)]
    for plane, corner in enumerate(_plane_starts(grid)):
        j, i = (np.arange(n)[:, None] for n in grid.shape[1:])
        points = corner + j[:, None] * grid.affine[:3, 1] + i * grid.affine[:3, 0]
        asked = transformed(to_index, points)
        index = np.clip(asked, 0, last)
        where = np.moveaxis(index[..., ::-1], -1, 0)
        for c, values in enumerate(components):
            vectors[plane, ..., c] = ndimage.map_coordinates(values, where, order=1, mode="nearest")
        if field.linear is not None:
            vectors[plane] += field.beyond(asked - index)
    return DisplacementField(vectors, grid, field.linear if matrix is None else None)


def _plane_starts(grid: Geometry) -> FloatArray:
    """Return the RAS mm (k, 3) of the first voxel of each plane."""
    return grid.origin + np.arange(grid.shape[0])[:, None] * grid.affine[:3, 2]


def _within(target: Geometry, block: Geometry) -> bool:
    """Return whether all voxel centres of `target` lie between those of `block`."""
    ends = [(0, n - 1) for n in target.shape[::-1]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    index = block.to_index(target.to_ras(corners))
    last = np.array(block.shape[::-1]) - 1
    return bool((index >= -1e-3).all() and (index <= last + 1e-3).all())


def smoothed(volume: Volume, sigma_mm: float) -> Volume:
    """Return the volume (float32) under a Gaussian of `sigma_mm` mm, edges continued outwards."""
    return _blurred(volume, sigma_mm / volume.geometry.spacing)


def antialiased(source: Volume, target: Geometry, matrix: FloatArray | None = None) -> Volume:
    """Return `source` (float32, own grid) smoothed as needed to sample it on `target`.

    Voxels of both grids are modelled as Gaussians whose full width at half maximum is the edge
    length, and the source is smoothed by the difference between the two (Cardoso et al., "Scale
    factor point spread function matching", MICCAI 2015), along each source axis separately. Axes
    along which the target is as fine as the source are not smoothed.

    Args:
        matrix: 4x4, target RAS mm -> source RAS mm, when the target is sampled through one.
    """
    linear = np.eye(3) if matrix is None else np.asarray(matrix)[:3, :3]
    edges = linear @ target.affine[:3, :3]
    wanted = ((source.geometry.direction.T @ edges) ** 2).sum(axis=1)
    missing = np.sqrt(np.maximum(wanted / source.geometry.spacing**2 - 1.0, 0.0))
    return _blurred(source, missing * _SIGMA_PER_EDGE)


def downsampled(volume: Volume, spacing_mm: float, least: int = 1) -> Volume:
    """Return the volume (float32) on voxels of about `spacing_mm`, in the same block of space.

    Axes already that coarse keep their voxels; the others are smoothed before downsampling.
    """
    grid = coarser(volume.geometry, spacing_mm, least)
    return resample(antialiased(volume, grid), grid)


def coarser(geometry: Geometry, spacing_mm: float, least: int = 1) -> Geometry:
    """Return the grid of voxels of about `spacing_mm` that covers the same extent.

    Axes that are already coarser keep their voxels: nothing is ever upsampled. An axis with at
    least `least` voxels keeps that many.
    """
    edges = geometry.spacing[::-1]
    sizes = (
        min(n, max(least, round(n * float(edge) / spacing_mm)))
        for n, edge in zip(geometry.shape, edges, strict=True)
    )
    return geometry.resized(tuple(sizes))  # type: ignore[arg-type]


def _through_field(
    image: sitk.Image, target: Geometry, field: DisplacementField, mode: int, outside: float
) -> sitk.Image:
    size, origin, spacing, direction = grid_of(target)
    return sitk.Warp(image, field_to_image(field), mode, size, origin, spacing, direction, outside)


def _through_affine(
    image: sitk.Image, target: Geometry, matrix: FloatArray | None, mode: int, outside: float
) -> sitk.Image:
    if matrix is None:
        transform: sitk.Transform = sitk.Transform(3, sitk.sitkIdentity)
    elif np.shape(matrix) == (4, 4):
        transform = affine_to_transform(matrix)
    else:
        raise ValueError(f"mapping: a field or a 4x4 matrix is needed, got {type(matrix).__name__}")
    size, origin, spacing, direction = grid_of(target)
    return sitk.Resample(image, size, transform, mode, origin, spacing, direction, outside)


def _blurred(volume: Volume, sigma_ijk: FloatArray) -> Volume:
    array = volume.array.astype(np.float32, copy=False)
    if np.any(sigma_ijk > 0):
        array = ndimage.gaussian_filter(array, np.asarray(sigma_ijk)[::-1], mode="nearest")
    return Volume(array, volume.geometry)
