"""Images, labels, points and transforms of other libraries into RegRefine's own, and back.

ITK, SimpleITK and ANTs hold LPS coordinates, nibabel RAS; nibabel and ANTs index arrays (i,j,k),
SimpleITK's array view and RegRefine (k,j,i). Only this file and itk_lps.py know that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry, Volume
from ..io.volumes import LabelMap, read_labels, read_volume, write_volume
from ..itk_lps import from_image, to_image

IMAGES = (
    "a path, a Volume, a SimpleITK, nibabel, ITK or ANTs image, or (array, affine) with the array "
    "indexed (k, j, i) and the 4x4 from (i, j, k) to RAS mm"
)
POINTS = "a path, or an array (n, 3) of RAS mm"


class Image(Volume):
    """A Volume with the ways out of RegRefine: to_sitk, to_nibabel, save."""

    def to_sitk(self) -> sitk.Image:
        """Return a SimpleITK image (LPS) of the same pixel type."""
        return to_image(self)

    def to_nibabel(self) -> Any:
        """Return a nibabel.Nifti1Image (RAS), its array indexed (i, j, k).

        Raises:
            RegRefineError: nibabel is not installed.
        """
        try:
            import nibabel
        except ImportError as error:
            raise RegRefineError("to_nibabel needs nibabel: pip install nibabel") from error
        array = self.array.transpose(2, 1, 0)
        if array.dtype == bool:
            array = array.astype(np.uint8)
        dtype = array.dtype if array.dtype.itemsize < 8 or array.dtype.kind == "f" else np.int32
        image = nibabel.Nifti1Image(array.astype(dtype), self.geometry.affine)
        image.header.set_xyzt_units("mm")
        return image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image to a file (.nii.gz, .nii, .nrrd, .mha) and return its path."""
        write_volume(self, path)
        return Path(path)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the array (k, j, i), so that numpy takes an image where it takes an array."""
        return np.array(self.array, dtype=dtype, copy=True)

    def __repr__(self) -> str:
        grid = self.geometry
        sizes = " x ".join(str(n) for n in grid.shape[::-1])
        spacing = " x ".join(f"{s:.3g}" for s in grid.spacing)
        return f"<Image {sizes} voxels (i, j, k) of {spacing} mm, {self.array.dtype}>"


def image_of(value: Any, name: str = "image") -> Image:
    """Return an image of any of the kinds in IMAGES as an Image.

    Args:
        name: what messages call it.

    Raises:
        RegRefineError: another kind, not three-dimensional, or a file that cannot be read.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, Volume):
        return Image(value.array, value.geometry)
    if isinstance(value, (str, os.PathLike)):
        return image_of(read_volume(value))
    try:
        volume = _foreign(value)
    except ValueError as error:
        raise RegRefineError(f"{name}: {error}") from error
    if volume is None:
        raise RegRefineError(f"{name}: {IMAGES} is needed, got {_kind(value)}")
    return Image(volume.array, volume.geometry)


def labels_of(value: Any, name: str) -> LabelMap:
    """Return a label map of any of the kinds of image; whole numbers may be stored as floats.

    Raises:
        RegRefineError: as `image_of`, or the values are not whole numbers.
    """
    if isinstance(value, LabelMap):
        return value
    if isinstance(value, (str, os.PathLike)):
        return read_labels(value)
    image = image_of(value, name)
    array = image.array
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise RegRefineError(f"{name}: labels are whole numbers, but some values are not")
        array = whole.astype(np.int32)
    elif array.dtype == bool:
        array = array.astype(np.uint8)
    return LabelMap(Volume(array, image.geometry))


def points_of(value: Any, name: str, lps: bool = False) -> FloatArray:
    """Return points (n, 3) in RAS mm of a file or an array.

    Raises:
        RegRefineError: another kind, another shape, or a value that is not finite.
    """
    if isinstance(value, (str, os.PathLike)):
        from ..io.landmarks import read_landmarks

        return read_landmarks(value)[1]
    try:
        points = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RegRefineError(f"{name}: {POINTS} is needed, got {_kind(value)}") from error
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise RegRefineError(f"{name}: {POINTS}, all finite, is needed, got {points.shape}")
    return points * (-1.0, -1.0, 1.0) if lps else points


def itk_affine(direction: ArrayLike, spacing: ArrayLike, origin: ArrayLike) -> FloatArray:
    """Return the 4x4 (i, j, k) -> RAS mm of an image as ITK describes it, in LPS."""
    lps = np.eye(4)
    lps[:3, :3] = np.asarray(direction, dtype=float).reshape(3, 3) * np.asarray(spacing)
    lps[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _foreign(value: Any) -> Volume | None:
    """Return another library's image as a volume; None where it is of no kind that is known."""
    if isinstance(value, sitk.Image):
        if value.GetDimension() != 3 or value.GetNumberOfComponentsPerPixel() != 1:
            raise ValueError(
                f"a three-dimensional scalar image is needed, got {value.GetDimension()} dimensions"
                f" and {value.GetNumberOfComponentsPerPixel()} components"
            )
        return from_image(value)
    if isinstance(value, tuple) and len(value) == 2:
        return _placed(np.asarray(value[0]), np.asarray(value[1], dtype=float))
    if hasattr(value, "dataobj") and hasattr(value, "affine"):  # nibabel
        array = np.asanyarray(value.dataobj)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        return _placed(array.transpose(*range(array.ndim)[::-1]), np.asarray(value.affine))
    if hasattr(value, "numpy") and hasattr(value, "spacing") and hasattr(value, "origin"):  # ANTs
        if value.dimension != 3 or value.components != 1:
            raise ValueError("a three-dimensional scalar image is needed")
        affine = itk_affine(value.direction, value.spacing, value.origin)
        return _placed(value.numpy().transpose(2, 1, 0), affine)
    itk = sys.modules.get("itk")
    if itk is not None and hasattr(value, "GetLargestPossibleRegion"):
        array = itk.array_from_image(value)
        direction = itk.array_from_matrix(value.GetDirection())
        affine = itk_affine(direction, value.GetSpacing(), value.GetOrigin())
        return _placed(array, affine)
    return None


def _placed(array: NDArray[Any], affine: FloatArray) -> Volume:
    if array.ndim != 3:
        raise ValueError(f"a three-dimensional array is needed, got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array of real numbers is needed, got {array.dtype}")
    if affine.shape != (4, 4):
        raise ValueError(f"a 4x4 affine is needed, got shape {affine.shape}")
    return Volume(array, Geometry(array.shape, affine))  # type: ignore[arg-type]


def _kind(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def mapping_of(
    value: Any, name: str, fixed: Geometry | None = None, moving: Geometry | None = None
) -> Any:
    """Return a transform as a DisplacementField or a 4x4, fixed RAS mm -> moving RAS mm.

    Args:
        value: a path, a SimpleITK transform, a 4x4, a field, a Transform or a result.
        fixed: the fixed grid, for transforms that bring none along.
        moving: the moving grid, for those of FSL.

    Raises:
        RegRefineError: another kind, or a file that cannot be read.
    """
    value = getattr(value, "transform", value)  # of a result
    mapping = getattr(value, "mapping", value)  # of a Transform
    if isinstance(mapping, DisplacementField):
        return mapping
    if isinstance(mapping, (str, os.PathLike)):
        from ..io.transforms import read_transform

        return read_transform(mapping, fixed, moving)
    if isinstance(mapping, sitk.Transform):
        return _itk_mapping(mapping, name, fixed)
    array = np.asarray(mapping) if isinstance(mapping, (list, tuple, np.ndarray)) else None
    if array is not None and array.shape == (4, 4) and array.dtype.kind in "iuf":
        return array.astype(np.float64)
    raise RegRefineError(
        f"{name}: a path, a SimpleITK transform, a 4x4 (RAS mm to RAS mm), a DisplacementField or "
        f"a result is needed, got {_kind(value)}"
    )


def _itk_mapping(transform: sitk.Transform, name: str, fixed: Geometry | None) -> Any:
    from ..itk_lps import affine_from_transform, field_from_image, grid_of

    if transform.GetDimension() != 3:
        raise RegRefineError(f"{name}: a transform of three dimensions is needed")
    if transform.IsLinear():
        return affine_from_transform(transform)
    own = _own_grid(transform)
    if own is None:
        if fixed is None:
            raise RegRefineError(f"{name}: this transform has no grid; give the image to move onto")
        own = grid_of(fixed)
    image = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *own)
    return field_from_image(image)


def _own_grid(transform: sitk.Transform) -> Any:
    """Return the grid of a displacement field's transform, None for one of another kind."""
    plain = transform.Downcast() if hasattr(transform, "Downcast") else transform
    if not isinstance(plain, sitk.DisplacementFieldTransform):
        return None
    image = plain.GetDisplacementField()
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
