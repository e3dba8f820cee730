"""Volumes and label maps from and to files: NIfTI, NRRD, MHA, DICOM series, .seg.nrrd.

SimpleITK reads and writes them; itk_lps.py turns the frames. Transforms are in transforms.py,
points in landmarks.py. Whatever is wrong with a file is a RegRefineError that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import Geometry, Volume, check_finite, sizes_text
from ..itk_lps import geometry_of, to_image
from . import dicom
from . import seg_nrrd as segments
from .file_checks import flaw_of
from .paths import PathLike, ending_of, present, quiet, written_aside

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
READABLE = (*WRITABLE, ".nhdr", ".mhd")
BAD_AXES = "the voxel axes are singular, of zero length or not finite; mend the file's header"

__all__ = [
    "LabelMap",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
    "written_aside",
]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map with what its file says about the labels.

    Attributes:
        volume: whole numbers (k, j, i), 0 for none.
        names, colours: by label, where they are known; colours are (red, green, blue) in 0..1.

    Raises:
        ValueError: the volume's array is not of an integer type.
    """

    volume: Volume
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.volume.array.dtype.kind not in "iu":
            raise ValueError(f"volume: integers are needed, got {self.volume.array.dtype}")


def read_volume(path: PathLike) -> Volume:
    """Return the image of a file as float32 (k, j, i).

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, a folder that holds one DICOM series, or one
            DICOM file of a series. A 4-D image of one frame is taken for the 3-D image that it is.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, not a three-dimensional scalar image, no
            place in space (singular directions), NaN or infinite values.
    """
    image = _one_frame(load_image(path), path)
    with np.errstate(over="ignore"):
        array = sitk.GetArrayFromImage(image).astype(np.float32, copy=False)
    check_finite(array, path)
    return Volume(array, _place(image, path))


def read_labels(path: PathLike) -> LabelMap:
    """Return the label map of a file; the formats are those of `read_volume`.

    A .seg.nrrd file brings names and colours. Its layers are flattened: labels stay as they are
    where no two segments share one, else segments are numbered from 1 in the file's order.

    Raises:
        RegRefineError: as `read_volume`; values that are not whole numbers; overlapping segments.
    """
    image = load_image(path)
    if segments.described(image):
        array, names, colours = segments.flattened(image, path)
        return LabelMap(Volume(array, _place(image, path)), names, colours)
    image = _one_frame(image, path)
    return LabelMap(Volume(_whole(sitk.GetArrayFromImage(image), path), _place(image, path)))


def write_volume(volume: Volume, path: PathLike) -> None:
    """Write a volume in its own pixel type to .nii, .nii.gz, .nrrd or .mha (aside, then renamed).

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk; a sheared grid for NIfTI.
    """
    save_image(to_image(volume), path)


def write_labels(labels: LabelMap | Volume, path: PathLike) -> None:
    """Write a label map, compressed, in the smallest of uint8, int16, int32 that holds it.

    Names and colours are kept by .seg.nrrd only, which Slicer opens as a segmentation.

    Raises:
        ValueError: the array is not of an integer type.
        RegRefineError: as `write_volume`.
    """
    if isinstance(labels, Volume):
        labels = LabelMap(labels)
    volume = Volume(_compact(labels.volume.array), labels.volume.geometry)
    image = to_image(volume)
    if str(path).lower().endswith(".seg.nrrd"):
        segments.describe(image, volume.array, labels.names, labels.colours)
    save_image(image, path, compress=True)


def load_image(path: PathLike) -> sitk.Image:
    """Return the image of a file or DICOM series as SimpleITK reads it, of any kind.

    Raises:
        RegRefineError: missing, damaged or of unknown kind.
    """
    if Path(path).is_dir():
        return dicom.read_folder(Path(path))
    file = present(path)
    if dicom.is_dicom(file):
        return dicom.read_series_of(file)
    ending_of(file, READABLE, "an image that can be read")
    flaw = flaw_of(file)
    if flaw:
        raise RegRefineError(f"{path}: damaged image file: {flaw}; copy or export it anew")
    try:
        with quiet():
            return sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise RegRefineError(f"{path}: {_why_unreadable(str(error))}") from error


def save_image(image: sitk.Image, path: PathLike, compress: bool = False) -> None:
    """Write a SimpleITK image aside, look whether it is whole, then rename it to `path`.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk; a sheared grid for NIfTI.
    """
    ending = ending_of(path, WRITABLE, "an image that can be written")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if ending.startswith(".nii") and not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise RegRefineError(f"{path}: the grid is sheared, which NIfTI cannot hold; write .nrrd")
    packed = compress or ending == ".nii.gz"
    size = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    size *= image.GetNumberOfComponentsPerPixel()
    with written_aside(path, need_bytes=0 if packed else size) as aside:
        try:
            with quiet():
                sitk.WriteImage(image, str(aside), packed)
        except RuntimeError as error:
            raise RegRefineError(f"{path}: not written; is the disk full?") from error
        flaw = flaw_of(aside)
        if flaw:
            raise RegRefineError(f"{path}: not written completely ({flaw}); is the disk full?")


def _one_frame(image: sitk.Image, path: PathLike) -> sitk.Image:
    """Return the three-dimensional scalar image, or say what it is instead."""
    values = image.GetNumberOfComponentsPerPixel()
    if values != 1 or "complex" in image.GetPixelIDTypeAsString():
        kind = f"{values} values in each voxel" if values != 1 else "complex numbers"
        raise RegRefineError(
            f"{path}: {kind} (colour, vectors?); save one value per voxel, for example as grey"
        )
    sizes = image.GetSize()
    if len(sizes) > 3 and set(sizes[3:]) == {1}:
        kept = [0] * len(sizes)
        image = sitk.Extract(image, [*sizes[:3], *kept[3:]], kept)
    if image.GetDimension() != 3:
        raise RegRefineError(
            f"{path}: a {len(sizes)}-D image ({sizes_text(sizes)}); save the one 3-D image wanted"
        )
    if min(sizes[:3]) < 2:
        raise RegRefineError(
            f"{path}: a single slice ({sizes_text(sizes)}); a volume of several slices is needed"
        )
    return image


def _place(image: sitk.Image, path: PathLike) -> Geometry:
    try:
        return geometry_of(image)
    except ValueError as error:
        raise RegRefineError(f"{path}: {BAD_AXES}") from error


def _why_unreadable(message: str) -> str:
    if "orthonormal" in message:
        return (
            "neither sform nor qform has axes at right angles (sheared or singular); "
            "resample the image to an unsheared grid first"
        )
    if "determinant" in message or "spacing" in message:
        return BAD_AXES
    return "damaged, incomplete or not of the kind that its name says; copy or export it anew"


def _whole(array: NDArray[Any], path: PathLike) -> NDArray[Any]:
    """Return the array in an integer type."""
    if array.dtype.kind in "iu":
        return array
    check_finite(array, path)
    whole = np.rint(array)
    if np.any(whole != array) or np.abs(whole).max() > np.iinfo(np.int64).max // 2:
        odd = float(array[whole != array].flat[0]) if np.any(whole != array) else whole.max()
        raise RegRefineError(
            f"{path}: labels must be whole numbers, found {odd:g}; is it an image or a "
            "probability map? Labels must be resampled by nearest neighbour"
        )
    return _compact(whole.astype(np.int64))


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest of uint8, int16, int32, else their own type."""
    low, high = int(array.min()), int(array.max())
    for kind in (np.uint8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind, copy=False)
    return array
