"""elastix' TransformParameters files.

Source: the elastix manual, chapter 2 and the parameter lists of its transforms; points are LPS mm,
and a file's transform comes after that of its InitialTransformParametersFileName (Compose).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry
from ..itk_lps import affine_from_transform, flip_matrix, grid_of
from ..mapping import Chain, Field, ItkTransform, Linear, Part
from .field_images import field_of, write
from .images import load
from .itk_files import regular
from .paths import PathLike, written_aside

_LONGEST_CHAIN = 20
_ENTRY = re.compile(r"^\s*\((\w+)\s+(.*?)\)\s*(?://.*)?$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r'"([^"]*)"|(\S+)')


def is_parameters(text: str) -> bool:
    """Return whether a text is one of elastix' transform parameters."""
    return re.search(r'^\s*\(Transform\s+"', text, re.MULTILINE) is not None


def read(path: PathLike, text: str) -> Chain:
    """Return the transform of a TransformParameters file, with those it names as initial.

    Raises:
        RegRefineError: damaged, of a kind that is not read, an initial one that is missing.
    """
    parts: list[Part] = []
    file = Path(path)
    for _ in range(_LONGEST_CHAIN):
        entries = {name: _words(value) for name, value in _ENTRY.findall(text)}
        parts.insert(0, _part(entries, file))
        first = " ".join(
            _get(entries, "InitialTransformParametersFileName", "InitialTransformParameterFileName")
        )
        if first in ("", "NoInitialTransform"):
            return Chain(tuple(parts))
        if _get(entries, "HowToCombineTransforms")[:1] == ["Add"]:
            raise RegRefineError(f"{file}: transforms combined by Add are not read; use Compose")
        file = file.parent / Path(first).name if not Path(first).is_file() else Path(first)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RegRefineError(
                f"{path}: names {first} as what comes before it, which cannot be read; put it "
                "beside this file"
            ) from error
    raise RegRefineError(f"{path}: a chain of more than {_LONGEST_CHAIN} files; is it a circle?")


def write_matrix(matrix: FloatArray, path: PathLike, fixed: Geometry) -> None:
    """Write a 4x4 (fixed RAS mm -> moving RAS mm) as an AffineTransform for transformix."""
    lps = flip_matrix(matrix)
    values = [*lps[:3, :3].ravel(), *lps[:3, 3]]
    _write(path, "AffineTransform", values, fixed, {"CenterOfRotationPoint": "0 0 0"})


def write_field(field: DisplacementField, path: PathLike) -> None:
    """Write a field as a DeformationFieldTransform and, beside it, the field's .mha file."""
    image = Path(path).with_suffix(".mha")
    write(DisplacementField(field.vectors, field.geometry), image)
    more = {
        "DeformationFieldFileName": f'"{image.absolute()}"',
        "DeformationFieldInterpolationOrder": "1",
    }
    _write(path, "DeformationFieldTransform", [], field.geometry, more)


def _write(
    path: PathLike, kind: str, values: list[float], fixed: Geometry, more: dict[str, str]
) -> None:
    size, origin, spacing, direction = grid_of(fixed)
    columns = np.reshape(direction, (3, 3)).T.ravel()
    entries = {
        "Transform": f'"{kind}"',
        "NumberOfParameters": str(len(values)),
        **({"TransformParameters": _listed(values)} if values else {}),
        "InitialTransformParametersFileName": '"NoInitialTransform"',
        "HowToCombineTransforms": '"Compose"',
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "FixedInternalImagePixelType": '"float"',
        "MovingInternalImagePixelType": '"float"',
        "Size": _listed(size),
        "Index": "0 0 0",
        "Spacing": _listed(spacing),
        "Origin": _listed(origin),
        "Direction": _listed(columns),
        "UseDirectionCosines": '"true"',
        **more,
        "ResampleInterpolator": '"FinalLinearInterpolator"',
        "Resampler": '"DefaultResampler"',
        "DefaultPixelValue": "0",
        "ResultImageFormat": '"nii.gz"',
        "ResultImagePixelType": '"float"',
        "CompressResultImage": '"false"',
    }
    text = "".join(f"({key} {value})\n" for key, value in entries.items())
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def _listed(values: ArrayLike) -> str:
    return " ".join(f"{float(v):.15g}" for v in np.ravel(values))


def _words(text: str) -> list[str]:
    return [quoted or plain for quoted, plain in _WORD.findall(text)]


def _get(entries: dict[str, list[str]], *names: str) -> list[str]:
    return next((entries[name] for name in names if name in entries), [])


def _part(entries: dict[str, list[str]], file: Path) -> Part:
    """Return the transform of one file."""
    kind = " ".join(_get(entries, "Transform"))
    if kind == "DeformationFieldTransform":
        name = Path(" ".join(_get(entries, "DeformationFieldFileName")))
        where = name if name.is_file() else file.parent / name.name
        return Field(field_of(load(where), where, "itk"))
    try:
        values = [float(word) for word in _get(entries, "TransformParameters")]
        transform = _transform(kind, values, entries)
    except (ValueError, RuntimeError, TypeError) as error:
        raise RegRefineError(
            f"{file}: its parameters do not fit a {kind or 'transform'}; write it anew"
        ) from error
    if transform is None:
        raise RegRefineError(
            f"{file}: elastix' {kind or 'unnamed transform'} is not read; make a field of it with "
            "transformix -def all, and name that"
        )
    if transform.IsLinear():
        return Linear(regular(affine_from_transform(transform), file))
    return ItkTransform(transform)


def _transform(
    kind: str, values: list[float], entries: dict[str, list[str]]
) -> sitk.Transform | None:
    centre = [float(word) for word in _get(entries, "CenterOfRotationPoint")] or [0.0] * 3
    if kind == "TranslationTransform":
        return sitk.TranslationTransform(3, values)
    if kind == "EulerTransform":
        euler = sitk.Euler3DTransform()
        euler.SetCenter(centre)
        euler.SetComputeZYX(_get(entries, "ComputeZYX")[:1] == ["true"])
        euler.SetParameters(values)
        return euler
    if kind == "SimilarityTransform":
        similarity = sitk.Similarity3DTransform()
        similarity.SetCenter(centre)
        similarity.SetParameters(values)
        return similarity
    if kind == "AffineTransform":
        affine = sitk.AffineTransform(3)
        affine.SetCenter(centre)
        affine.SetParameters(values)
        return affine
    if kind in ("BSplineTransform", "RecursiveBSplineTransform"):
        return _b_spline(values, entries)
    return None


def _b_spline(values: list[float], entries: dict[str, list[str]]) -> sitk.Transform:
    """Return a B-spline; elastix gives its grid of control points as it is, with its rim."""
    order = int((_get(entries, "BSplineTransformSplineOrder") or ["3"])[0])
    size, origin, spacing = (
        [float(word) for word in _get(entries, name)]
        for name in ("GridSize", "GridOrigin", "GridSpacing")
    )
    columns = [float(word) for word in _get(entries, "GridDirection")] or np.eye(3).ravel()
    direction = np.reshape(columns, (3, 3)).T.ravel().tolist()
    spline = sitk.BSplineTransform(3, order)
    spline.SetFixedParameters([*size, *origin, *spacing, *direction])
    spline.SetParameters(values)
    return spline
