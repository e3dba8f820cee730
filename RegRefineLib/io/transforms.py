"""Transform files: displacement fields and matrices that take fixed points to moving points.

That is the direction in which ITK's files are written (resampling, Slicer's "from parent").
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry
from ..itk_lps import (
    affine_from_transform,
    affine_to_transform,
    field_from_image,
    field_to_image,
    grid_of,
)
from .paths import PathLike, ending_of, present, quiet, written_aside
from .volumes import BAD_AXES, READABLE, WRITABLE, load_image, save_image

ITK_FILES = (".h5", ".hdf5", ".tfm", ".txt", ".mat")

# the keys by which Slicer knows a displacement field and its direction
_FIELD_KEYS = {"displacement field type": "resampling", "intent_code": "1006"}
_DIRECTION = "displacement field type"
_LARGEST_CONDITION = 1e8


def read_transform(
    path: PathLike, reference: Geometry | None = None
) -> DisplacementField | FloatArray:
    """Return the mapping of a file from fixed to moving points in RAS mm: a field, or a 4x4.

    Linear transforms of any kind (affine, rigid, Euler, versor, similarity, scale ..., also
    composites of them) give a 4x4. Displacement fields are given on their own grid.

    Args:
        path: a field as image (.nrrd, .nhdr, .mha, .mhd, .nii, .nii.gz) or an ITK transform file
            (.h5, .hdf5, .tfm, .txt, .mat).
        reference: the grid to put B-splines and composites on, usually the fixed image's; nothing
            else needs it.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, two-dimensional, singular, not finite;
            stored from moving to fixed ("modeling"); a reference is needed and missing.
    """
    ending = ending_of(path, (*READABLE, *ITK_FILES), "a transform that can be read")
    if ending in READABLE:
        return _finite(_field_of_image(load_image(path), path), path)
    transform = _load(path)
    if transform.IsLinear():
        return _regular(affine_from_transform(transform), path)
    if transform.GetTransformEnum() == sitk.sitkDisplacementField:
        image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
        return _finite(field_from_image(image), path)
    if reference is None:
        raise RegRefineError(
            f"{path}: a {transform.GetName()} has no grid of its own to be a field on; "
            "name a reference image too (the fixed image)"
        )
    size, origin, spacing, direction = grid_of(reference)
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, size, origin, spacing, direction
    )
    return _finite(field_from_image(image), path)


def write_field(field: DisplacementField, path: PathLike) -> None:
    """Write a field so that Slicer, ITK and SimpleITK read it as a displacement field.

    As an image of vectors to .nrrd, .mha, .nii or .nii.gz, or as a DisplacementFieldTransform (in
    double precision) to .h5, .hdf5, .tfm or .txt. NIfTI files have intent code 1007 (vector), since
    SimpleITK writes no other; Slicer reads them too, with a warning.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk; a sheared grid for NIfTI.
    """
    known = (*WRITABLE, *ITK_FILES[:-1])
    image = field_to_image(field)
    if ending_of(path, known, "a displacement field that can be written") in WRITABLE:
        if not str(path).lower().endswith((".nii", ".nii.gz")):
            for key, value in _FIELD_KEYS.items():
                image.SetMetaData(key, value)
        save_image(image, path)
        return
    double = sitk.Cast(image, sitk.sitkVectorFloat64)
    size = 24 * field.geometry.voxel_count
    _save(sitk.DisplacementFieldTransform(double), path, size)  # takes the image over


def write_affine(matrix: FloatArray, path: PathLike) -> None:
    """Write a 4x4 (fixed RAS mm -> moving RAS mm) to .tfm, .txt, .mat, .h5 or .hdf5.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk, singular matrix.
    """
    ending_of(path, ITK_FILES, "a matrix that can be written")
    _save(affine_to_transform(_regular(np.asarray(matrix), path)), path, 1 << 16)


def _load(path: PathLike) -> sitk.Transform:
    file = present(path)
    try:
        with quiet():
            transform = sitk.ReadTransform(str(file))
    except RuntimeError as error:
        raise RegRefineError(
            f"{path}: damaged, or not an ITK transform (other programs' matrices, such as FSL's, "
            "must be converted); export it anew"
        ) from error
    if transform.GetDimension() != 3:
        raise RegRefineError(f"{path}: a 2-D transform; a 3-D one is needed")
    while transform.GetTransformEnum() == sitk.sitkComposite:
        parts = sitk.CompositeTransform(transform)
        if parts.GetNumberOfTransforms() != 1:
            break
        transform = parts.GetNthTransform(0)
    return transform


def _save(transform: sitk.Transform, path: PathLike, need_bytes: int) -> None:
    with written_aside(path, need_bytes) as aside:
        try:
            with quiet():
                sitk.WriteTransform(transform, str(aside))
        except RuntimeError as error:
            raise RegRefineError(f"{path}: not written; is the disk full?") from error
        if not _whole(aside):
            raise RegRefineError(f"{path}: not written completely; is the disk full?")


def _whole(file: Path) -> bool:
    """Return whether a transform file just written has its end, which ITK does not look after."""
    if file.suffix.lower() not in (".tfm", ".txt"):
        return True
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 4096))
        tail = opened.read()
    return b"FixedParameters:" in tail and tail.endswith(b"\n")


def _field_of_image(image: sitk.Image, path: PathLike) -> DisplacementField:
    values = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() != 3 or values != 3:
        raise RegRefineError(
            f"{path}: not a displacement field: {image.GetDimension()}-D with {values} value(s) in "
            "each voxel instead of 3-D with 3; name a transform"
        )
    if image.HasMetaDataKey(_DIRECTION) and image.GetMetaData(_DIRECTION).strip() == "modeling":
        raise RegRefineError(
            f"{path}: stored from moving to fixed points (displacement field type modeling); "
            "invert it in Slicer's Transforms module and save that"
        )
    try:
        return field_from_image(image)
    except ValueError as error:
        raise RegRefineError(f"{path}: {BAD_AXES}") from error


def _finite(field: DisplacementField, path: PathLike) -> DisplacementField:
    bad = int((~np.isfinite(field.vectors)).any(axis=-1).sum())
    if bad:
        raise RegRefineError(f"{path}: {bad} displacements are NaN or infinite; make it anew")
    return field


def _regular(matrix: FloatArray, path: PathLike) -> FloatArray:
    """Return the 4x4 if it can be inverted."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise RegRefineError(f"{path}: a finite 4x4 matrix is needed, got {matrix.tolist()}")
    if np.linalg.cond(matrix[:3, :3]) > _LARGEST_CONDITION:
        raise RegRefineError(
            f"{path}: the matrix is singular (it flattens space); use one that can be inverted"
        )
    return matrix
