"""Image files of any kind as they are: numbers, place, and what the file says about them.

NIfTI, Analyze and FreeSurfer's files are read with nibabel, the others with SimpleITK. Volumes,
label maps and fields are made of this in volumes.py, seg_nrrd.py and field_images.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, sizes_text
from ..itk_lps import affine_of, array_to_image
from . import dicom, freesurfer, nifti
from .file_checks import flaw_of
from .paths import PathLike, ending_of, itk_name, present, quiet, written_aside

ITK_WRITABLE = (".nrrd", ".mha")
WRITABLE = (*nifti.SINGLE_FILES, *nifti.PAIRS[2:3], *ITK_WRITABLE, *freesurfer.ENDINGS)
READABLE = (*nifti.ENDINGS, *ITK_WRITABLE, ".nhdr", ".mhd", *freesurfer.ENDINGS)
BAD_AXES = "the voxel axes are singular, of zero length or not finite; mend the file's header"
SCALAR, FRAMES, VECTORS = "scalar", "frames", "vectors"


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What an image file holds.

    Attributes:
        array: (k, j, i), or (k, j, i, n) where kind is not scalar.
        geometry: of one frame; a single slice has a third axis across it.
        kind: scalar; frames (times, contrasts: a 4-D image); vectors (n values in each voxel).
        format: nifti, dicom, mgh or itk.
        meta: what the file says besides: the keys of NRRD and MetaImage; NIfTI's intent.
    """

    array: NDArray[Any]
    geometry: Geometry
    kind: str
    format: str
    meta: Mapping[str, str] = field(default_factory=dict)


def load(path: PathLike) -> ImageFile:
    """Return what an image file, a DICOM series' folder or one of its files holds.

    Raises:
        RegRefineError: missing, damaged or of unknown kind; no place in space.
    """
    if Path(path).is_dir():
        return _scalar(*dicom.read_folder(Path(path)), "dicom", path)
    file = present(path)
    if dicom.is_dicom(file):
        return _scalar(*dicom.read_series_of(file), "dicom", path)
    ending = ending_of(file, READABLE, "an image that can be read")
    if ending in freesurfer.ENDINGS:
        array, affine = freesurfer.read_frames(file)
        return _made(array, affine, FRAMES if array.ndim > 3 else SCALAR, "mgh", path)
    if ending in nifti.ENDINGS:
        found = nifti.read(file)
        kind = VECTORS if found.vectors else FRAMES if found.array.ndim > 3 else SCALAR
        return _made(found.array, found.affine, kind, "nifti", path, found.meta)
    flaw = flaw_of(file)
    if flaw:
        raise RegRefineError(f"{path}: damaged image file: {flaw}; copy or export it anew")
    return _of_itk(file, path)


def geometry_of_file(path: PathLike) -> Geometry:
    """Return the grid of an image file of any kind: of a 4-D image that of each frame."""
    return load(path).geometry


def save(
    array: NDArray[Any],
    geometry: Geometry,
    path: PathLike,
    kind: str = SCALAR,
    *,
    meta: Mapping[str, str] | None = None,
    compress: bool = False,
) -> None:
    """Write an array (k, j, i) or (k, j, i, n) aside, check that it is whole, and rename it.

    Args:
        kind: scalar, frames or vectors, as `ImageFile` has it.
        meta: keys for the header of .nrrd and .mha.
        compress: pack .nrrd and .mha; .nii.gz and .mgz always are.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk; what the format cannot hold.
    """
    ending = ending_of(path, WRITABLE, "an image that can be written")
    if ending in freesurfer.ENDINGS:
        freesurfer.write_frames(array, geometry, path)
    elif ending in nifti.ENDINGS:
        is_vector = kind == VECTORS
        nifti.write(array, geometry, path, (nifti.VECTOR if is_vector else 0, "", 0.0))
    else:
        image = array_to_image(array, geometry, kind == FRAMES)
        for key, value in (meta or {}).items():
            image.SetMetaData(key, value)
        save_itk(image, path, compress)


def can_hold(path: PathLike, geometry: Geometry) -> bool:
    """Return whether a file of this name can hold a volume on this grid, and ITK read it again.

    NIfTI holds a sheared grid, but ITK and with it 3D Slicer refuse such files.
    """
    directions = geometry.direction
    straight = np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
    return straight or str(path).lower().endswith(ITK_WRITABLE)


def save_itk(image: sitk.Image, path: PathLike, compress: bool = False) -> None:
    """Write a SimpleITK image to .nrrd or .mha, aside and then renamed.

    Raises:
        RegRefineError: unwritable folder, full disk.
    """
    size = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    size *= image.GetNumberOfComponentsPerPixel()
    with written_aside(path, need_bytes=0 if compress else size) as aside:
        try:
            with itk_name(aside) as name, quiet():
                sitk.WriteImage(image, name, compress)
        except RuntimeError as error:
            raise RegRefineError(f"{path}: not written; is the disk full?") from error
        flaw = flaw_of(aside)
        if flaw:
            raise RegRefineError(f"{path}: not written completely ({flaw}); is the disk full?")


def _scalar(array: NDArray[Any], affine: FloatArray, form: str, path: PathLike) -> ImageFile:
    return _made(array, affine, SCALAR, form, path)


def _made(
    array: NDArray[Any],
    affine: FloatArray,
    kind: str,
    form: str,
    path: PathLike,
    meta: Mapping[str, str] | None = None,
) -> ImageFile:
    try:
        geometry = Geometry(array.shape[:3], affine)  # type: ignore[arg-type]
    except ValueError as error:
        raise RegRefineError(f"{path}: {BAD_AXES}") from error
    return ImageFile(array, geometry, kind, form, meta or {})


def _of_itk(file: Path, path: PathLike) -> ImageFile:
    try:
        with itk_name(file) as name, quiet() as said:
            image = sitk.ReadImage(name)
    except RuntimeError as error:
        raise RegRefineError(f"{path}: {_why_unreadable(str(error))}") from error
    said.pass_on(path)
    if "complex" in image.GetPixelIDTypeAsString():
        raise RegRefineError(f"{path}: complex numbers; save their magnitude")
    sizes = image.GetSize()
    array = sitk.GetArrayFromImage(image)
    values = image.GetNumberOfComponentsPerPixel()
    if values == 1:
        array = array[..., None]
    while array.ndim - 1 > 3 and array.shape[0] == 1:
        array = array[0]
    while array.ndim - 1 < 3:
        array = array[None]
    frames = array.shape[0] if array.ndim - 1 == 4 else 1
    if array.ndim - 1 > 4 or (frames > 1 and values > 1):
        raise RegRefineError(
            f"{path}: a {len(sizes)}-D image ({sizes_text(sizes)}) of {values} value(s) in each "
            "voxel; save one 3-D or 4-D image of it"
        )
    if array.ndim - 1 == 4:
        array, kind = np.ascontiguousarray(np.moveaxis(array[..., 0], 0, -1)), FRAMES
    else:
        array, kind = (array, VECTORS) if values > 1 else (array[..., 0], SCALAR)
    return _made(array, affine_of(image), kind, "itk", path, _meta_of(image))


def _meta_of(image: sitk.Image) -> dict[str, str]:
    """Return the keys of a header; those that are not text are left out."""
    meta = {}
    for key in image.GetMetaDataKeys():
        try:
            meta[key] = image.GetMetaData(key)
        except (TypeError, UnicodeError):
            continue
    return meta


def _why_unreadable(message: str) -> str:
    if "determinant" in message or "spacing" in message:
        return BAD_AXES
    if "encoding" in message or "bzip2" in message:
        return "packed in a way that is not read here (bzip2?); save it with gzip or unpacked"
    return "damaged, incomplete or not of the kind that its name says; copy or export it anew"
