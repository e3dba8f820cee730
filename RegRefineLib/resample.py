"""Volumes onto other grids: through a mapping, smoothed before they are downsampled out.

The work is SimpleITK's, which is fast and uses all cores; fields are applied in float32.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .geometry import DisplacementField, FloatArray, Geometry, Volume
from .itk_lps import affine_to_transform, field_to_image, from_image, grid_of, to_image

INTERPOLATIONS = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "bspline": sitk.sitkBSpline,
}
Mapping = DisplacementField | FloatArray | None

# a voxel is taken for a Gaussian whose full width at half maximum is its edge
_SIGMA_PER_EDGE = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def resample(
    source: Volume,
    target: Geometry,
    mapping: Mapping = None,
    interpolation: str = "linear",
    outside: float = 0.0,
) -> Volume:
    """Return `source` on the grid `target`: each target point x takes source's value at mapping(x).

    Args:
        mapping: None for the identity, a 4x4 (target RAS mm -> source RAS mm), or a field that
            holds the whole mapping x -> x + u(x). The field may lie on another grid than `target`;
            beyond its own grid its border value goes on, as in Slicer.
        interpolation: linear, nearest or bspline (cubic, which may overshoot the source's range).
        outside: the value of points more than half a voxel outside the source's voxel centres.

    Returns:
        With nearest the source's own pixel type and only values of the source (and `outside`), so
        that one call serves any number of labels; otherwise float32 (float64 of float64).

    Raises:
        ValueError: unknown interpolation; a mapping that is neither of the three.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation: one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
        )
    if interpolation != "nearest" and source.array.dtype != np.float64:
        source = Volume(source.array.astype(np.float32, copy=False), source.geometry)
    image, mode = to_image(source), INTERPOLATIONS[interpolation]
    if isinstance(mapping, DisplacementField):
        moved = _through_field(image, target, mapping, mode, outside)
    else:
        moved = _through_affine(image, target, mapping, mode, outside)
    array = from_image(moved).array
    return Volume(array.astype(source.array.dtype, copy=False), target)


def covered(moving: Geometry, grid: Geometry, matrix: FloatArray | None = None) -> Volume | None:
    """Return 1 where the moving image lies on `grid` and 0 elsewhere; None where it covers it all.

    The image ends half a voxel beyond its outermost voxel centres, as in `resample`.

    Args:
        matrix: 4x4, RAS mm of the grid -> RAS mm of the moving image; None: the same space.
    """
    whole = Volume(np.broadcast_to(np.uint8(1), moving.shape), moving)
    inside = resample(whole, grid, matrix, "nearest")
    return None if inside.array.all() else inside


def smoothed(volume: Volume, sigma_mm: float) -> Volume:
    """Return the volume (float32) under a Gaussian of `sigma_mm` mm, edges continued outwards."""
    return _blurred(volume, sigma_mm / volume.geometry.spacing)


def antialiased(source: Volume, target: Geometry, matrix: FloatArray | None = None) -> Volume:
    """Return `source` (float32, own grid) smoothed as much as sampling it on `target` asks for.

    Voxels of both grids are taken for Gaussians as wide at half height as their edges, and the
    source is smoothed by what is missing between the two (Cardoso et al., "Scale factor point
    spread function matching", MICCAI 2015), along each source axis by itself. Nothing is smoothed
    along axes on which the target is as fine as the source.

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

    Axes already that coarse keep their voxels; what is downsampled out is smoothed before.
    """
    grid = coarser(volume.geometry, spacing_mm, least)
    return resample(antialiased(volume, grid), grid)


def coarser(geometry: Geometry, spacing_mm: float, least: int = 1) -> Geometry:
    """Return the grid of voxels of about `spacing_mm` that fills the same block of space.

    Axes that are coarser than that already keep their voxels: nothing is ever refined. `least`
    voxels are left along an axis where there are so many.
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
