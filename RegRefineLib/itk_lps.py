"""RAS (RegRefine) to LPS (SimpleITK and its files) and back, by the signs of this file."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from .geometry import DisplacementField, FloatArray, Geometry, Volume

SIGNS = np.array([-1.0, -1.0, 1.0])
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])

# types that SimpleITK lacks, and the ones that hold the same values
_STAND_INS = {"bool": np.uint8, "float16": np.float32, "longdouble": np.float64}


def flip_points(points: ArrayLike) -> FloatArray:
    """Convert points or vectors (..., 3) from RAS mm to LPS mm, or the reverse."""
    return np.asarray(points, dtype=np.float64) * SIGNS + 0.0  # no -0


def flip_matrix(matrix: ArrayLike) -> FloatArray:
    """Convert a 4x4 that maps RAS mm points to one that maps LPS mm points, or the reverse."""
    return FLIP @ np.asarray(matrix, dtype=np.float64) @ FLIP + 0.0


def to_image(volume: Volume) -> sitk.Image:
    """Return a volume as a SimpleITK image of the same pixel type (bool: uint8, half: float32)."""
    return _placed(sitk.GetImageFromArray(_storable(volume.array)), volume.geometry)


def from_image(image: sitk.Image) -> Volume:
    """Return a three-dimensional scalar SimpleITK image as a volume of the same pixel type."""
    return Volume(sitk.GetArrayFromImage(image), geometry_of(image))


def array_to_image(array: NDArray[Any], geometry: Geometry, frames: bool = False) -> sitk.Image:
    """Return an array (k, j, i) or (k, j, i, n) as a SimpleITK image.

    The n values are those of each voxel, or frames of a four-dimensional image.
    """
    if not frames or array.ndim == 3:
        image = sitk.GetImageFromArray(_storable(array), isVector=array.ndim > 3)
        return _placed(image, geometry)
    image = sitk.GetImageFromArray(_storable(np.moveaxis(array, -1, 0)), isVector=False)
    _, origin, spacing, direction = grid_of(geometry)
    axes = np.eye(4)
    axes[:3, :3] = np.reshape(direction, (3, 3))
    image.SetDirection(axes.ravel().tolist())
    image.SetSpacing([*spacing, 1.0])
    image.SetOrigin([*origin, 0.0])
    return image


def affine_of(image: sitk.Image | sitk.ImageFileReader) -> FloatArray:
    """Return the 4x4 voxel (i,j,k) -> RAS mm of an image's first three axes.

    Axes that the image lacks are taken from world space.
    """
    n = image.GetDimension()
    kept = min(n, 3)
    direction, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    direction[:kept, :kept] = np.array(image.GetDirection()).reshape(n, n)[:kept, :kept]
    spacing[:kept], origin[:kept] = image.GetSpacing()[:kept], image.GetOrigin()[:kept]
    affine = np.eye(4)
    affine[:3, :3] = direction * SIGNS[:, None] * spacing + 0.0
    affine[:3, 3] = flip_points(origin)
    return affine


def field_to_image(field: DisplacementField) -> sitk.Image:
    """Return a field as a SimpleITK image of LPS mm vectors, float32 or float64 as the field is."""
    vectors = _storable(field.vectors)
    signs = SIGNS.astype(vectors.dtype)
    return _placed(sitk.GetImageFromArray(vectors * signs, isVector=True), field.geometry)


def field_from_image(image: sitk.Image) -> DisplacementField:
    """Return the field (float32) of a SimpleITK image of LPS mm displacement vectors."""
    vectors = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
    return DisplacementField(vectors * SIGNS.astype(np.float32), geometry_of(image))


def affine_to_transform(matrix: ArrayLike) -> sitk.AffineTransform:
    """Return a 4x4 (RAS mm -> RAS mm) as a SimpleITK transform, which maps LPS to LPS."""
    lps = flip_matrix(matrix)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def affine_from_transform(transform: sitk.Transform) -> FloatArray:
    """Return the 4x4 (RAS mm -> RAS mm) of a linear SimpleITK transform of any kind."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    lps = np.eye(4)
    lps[:3, 3] = origin
    for axis, unit in enumerate(np.eye(3)):
        lps[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    return flip_matrix(lps)


def geometry_of(image: sitk.Image) -> Geometry:
    """Return the grid of a three-dimensional SimpleITK image.

    Raises:
        ValueError: the image's axes do not span space.
    """
    direction = np.array(image.GetDirection()).reshape(3, 3) * SIGNS[:, None] + 0.0
    origin = flip_points(image.GetOrigin())
    return Geometry.from_parts(image.GetSize()[::-1], image.GetSpacing(), direction, origin)


def grid_of(geometry: Geometry) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return SimpleITK's size (i,j,k), origin, spacing and direction (row by row) of a grid."""
    direction = geometry.direction * SIGNS[:, None]
    return (
        list(geometry.shape[::-1]),
        flip_points(geometry.origin).tolist(),
        geometry.spacing.tolist(),
        direction.ravel().tolist(),
    )


def _placed(image: sitk.Image, geometry: Geometry) -> sitk.Image:
    _, origin, spacing, direction = grid_of(geometry)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    stand_in = _STAND_INS.get(array.dtype.name)
    native = array.dtype.newbyteorder("=") if stand_in is None else stand_in
    return array.astype(native, copy=False)
