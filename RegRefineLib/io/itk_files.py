"""ITK's transform files (.h5, .tfm, .txt, .mat), from and to chains of exact parts."""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray
from ..itk_lps import (
    affine_from_transform,
    affine_to_transform,
    field_from_image,
    field_to_image,
)
from ..mapping import Chain, Field, ItkTransform, Linear, Part
from .notices import notice
from .paths import PathLike, itk_name, present, quiet, written_aside

ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
HEAD = "#Insight Transform File V1.0"
_LARGEST_CONDITION = 1e8
_NO_CLASS = "is not of type"  # what SimpleITK says of a kind that it has no class for
_SEVERAL = re.compile(r"more than one|only the first|multiple|list", re.IGNORECASE)


def read(path: PathLike) -> Chain:
    """Return the transform of a file; a composite's parts are kept one by one.

    Several transforms in one text file are taken for a composite's: fixed points pass the last one
    first. That is said.

    Raises:
        RegRefineError: missing, damaged, not three-dimensional, singular; several transforms in a
            file from which ITK reads the first alone.
    """
    file = present(path)
    parts: list[Part] = []
    texts = _several(file)
    if texts:
        notice(
            f"{path}: {len(texts)} transforms that are no composite; taken for one, so that fixed "
            "points pass the last one first"
        )
        with tempfile.TemporaryDirectory() as folder:
            for text in reversed(texts):
                single = Path(folder) / "one.tfm"
                single.write_text(f"{HEAD}\n#Transform 0\n{text}", encoding="latin-1")
                parts += _parts(_load(single, path), path)
    else:
        parts = _parts(_load(file, path), path)
    return Chain(tuple(parts))


def write_matrix(matrix: FloatArray, path: PathLike) -> None:
    """Write a 4x4 (fixed RAS mm -> moving RAS mm).

    Raises:
        RegRefineError: unwritable folder, full disk, singular matrix.
    """
    _save(affine_to_transform(regular(np.asarray(matrix), path)), path, 1 << 16)


def write_field(field: DisplacementField, path: PathLike) -> None:
    """Write a field as a DisplacementFieldTransform, in double precision.

    Raises:
        RegRefineError: unwritable folder, full disk.
    """
    double = sitk.Cast(field_to_image(field), sitk.sitkVectorFloat64)
    _save(sitk.DisplacementFieldTransform(double), path, 24 * field.geometry.voxel_count)


def regular(matrix: FloatArray, path: PathLike) -> FloatArray:
    """Return the 4x4 if it can be inverted.

    Raises:
        RegRefineError: it cannot, or is not a finite 4x4.
    """
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise RegRefineError(f"{path}: a finite 4x4 matrix is needed, got {matrix.tolist()}")
    if np.linalg.cond(matrix[:3, :3]) > _LARGEST_CONDITION:
        raise RegRefineError(
            f"{path}: the matrix is singular (it flattens space); use one that can be inverted"
        )
    return matrix


def _several(file: Path) -> list[str]:
    """Return the texts of the transforms in a text file that holds several and no composite."""
    with file.open("rb") as opened:
        if not opened.read(len(HEAD)).startswith(HEAD[:23].encode()):
            return []
    text = file.read_text(encoding="latin-1")
    parts = re.split(r"^#Transform \d+\s*$", text, flags=re.MULTILINE)[1:]
    composite = bool(parts) and "CompositeTransform" in parts[0]
    return [] if composite or len(parts) < 2 else [part.lstrip("\n") for part in parts]


def _load(file: Path, path: PathLike) -> sitk.Transform:
    try:
        with itk_name(file) as name, quiet() as said:
            transform = sitk.ReadTransform(name)
    except (RuntimeError, UnicodeError) as error:
        text = _body(file) if _NO_CLASS in str(error) else None
        if text is None:
            raise RegRefineError(
                f"{path}: damaged, or not an ITK transform of a known kind; export it anew"
            ) from error
        return _wrapped(text, path)
    if any(_SEVERAL.search(line) for line in said.warnings):
        raise RegRefineError(
            f"{path}: several transforms of which ITK reads the first alone; save them as one "
            "composite, or each as a file of its own"
        )
    said.pass_on(path)
    if transform.GetDimension() != 3:
        raise RegRefineError(f"{path}: a 2-D transform; a 3-D one is needed")
    return transform


def _wrapped(body: str, path: PathLike) -> sitk.Transform:
    """Return a transform that SimpleITK has no class for inside a composite, which it can hold."""
    head = f"{HEAD}\n#Transform 0\nTransform: CompositeTransform_double_3_3\n#Transform 1\n"
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / "one.tfm"
        single.write_text(head + body, encoding="latin-1")
        return _load(single, path)


def _body(file: Path) -> str | None:
    """Return the text of the one transform in a text or .mat file, without its head."""
    data = file.read_bytes()
    if data.startswith(HEAD[:23].encode()):
        return data.decode("latin-1").partition("#Transform 0")[2].lstrip("\r\n")
    if file.suffix.lower() != ".mat":
        return None
    try:
        return _body_of_matlab(data)
    except (struct.error, ValueError):
        return None


def _body_of_matlab(data: bytes) -> str:
    """Return the text of a transform in ITK's .mat files: two vectors of MATLAB's version 4."""
    lines, at = [], 0
    for first in ("Transform: {}\nParameters: ", "FixedParameters: "):
        kind, rows, columns, _, length = struct.unpack_from("<5i", data, at)
        name = data[at + 20 : at + 20 + length].split(b"\0")[0].decode("ascii")
        at += 20 + length
        numbers = np.frombuffer(data, "<f8" if kind == 0 else "<f4", rows * columns, at)
        at += numbers.nbytes
        lines.append(first.format(name) + " ".join(repr(float(v)) for v in numbers) + "\n")
    return "".join(lines)


def _parts(transform: sitk.Transform, path: PathLike) -> list[Part]:
    """Return a transform's parts in the order in which points pass them."""
    if transform.IsLinear():
        return [Linear(regular(affine_from_transform(transform), path))]
    kind = transform.GetTransformEnum()
    if kind == sitk.sitkDisplacementField:
        image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
        try:
            return [Field(finite(field_from_image(image), path))]
        except ValueError as error:
            raise RegRefineError(f"{path}: its grid is empty or singular; make it anew") from error
    if kind == sitk.sitkComposite:
        inner = _inner(sitk.CompositeTransform(transform))
        if inner is not None:
            return [part for each in reversed(inner) for part in _parts(each, path)]
    return [ItkTransform(transform)]


def _inner(composite: sitk.CompositeTransform) -> list[sitk.Transform] | None:
    """Return a composite's transforms; None where SimpleITK cannot give them one by one.

    A kind that it has no class for comes wrapped in a composite of one, without end.
    """
    count = composite.GetNumberOfTransforms()
    try:
        with quiet():
            inner = [composite.GetNthTransform(n) for n in range(count)]
    except RuntimeError:
        return None
    endless = (each for each in inner if each.GetTransformEnum() == sitk.sitkComposite)
    if any(
        not each.IsLinear() and sitk.CompositeTransform(each).GetNumberOfTransforms() == 1
        for each in endless
    ):
        return None
    return inner


def finite(field: DisplacementField, path: PathLike) -> DisplacementField:
    """Return the field if all its vectors are numbers.

    Raises:
        RegRefineError: some are not.
    """
    bad = int((~np.isfinite(field.vectors)).any(axis=-1).sum())
    if bad:
        raise RegRefineError(f"{path}: {bad} displacements are NaN or infinite; make it anew")
    return field


def _save(transform: sitk.Transform, path: PathLike, need_bytes: int) -> None:
    with written_aside(path, need_bytes) as aside:
        try:
            with itk_name(aside) as name, quiet():
                sitk.WriteTransform(transform, name)
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
