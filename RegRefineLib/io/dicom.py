"""One DICOM series from a folder, or from any file of it, each slice put where it says it lies.

Values are read as float32, since every slice may have a scale of its own; they become whole numbers
again where all of them are. Slices that are unevenly spaced, or stacked at a slant (a tilted
gantry), are resampled to an even, straight grid, which is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import FloatArray, narrowest_integer
from ..itk_lps import affine_of, flip_points
from . import dicom_frames
from .notices import notice
from .paths import itk_name, quiet
from .slice_stack import SliceStack, evened

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
_INSTANCE, _ROWS, _COLUMNS = "0008|0018", "0028|0010", "0028|0011"
_EXACT = 1 << 24  # whole numbers up to here are exact in float32
_MAGIC_AT = 128

Placed = tuple[NDArray[Any], FloatArray]


def is_dicom(file: Path) -> bool:
    """Return whether a file starts as DICOM files do, whatever it is called."""
    with file.open("rb") as opened:
        opened.seek(_MAGIC_AT)
        return opened.read(4) == b"DICM"


def read_folder(folder: Path) -> Placed:
    """Return the values (k, j, i) of the one series in a folder, and the 4x4 to RAS mm.

    Raises:
        RegRefineError: no series or several of them, several images at one place, damage.
    """
    with itk_name(folder) as name, quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(name)
    if not series:
        raise RegRefineError(f"{folder}: no DICOM series in this folder; name an image file")
    if len(series) > 1:
        raise RegRefineError(
            f"{folder}: {len(series)} DICOM series in this folder; name a file of the one wanted"
        )
    return _read(folder, series[0])


def read_series_of(file: Path) -> Placed:
    """Return the values (k, j, i) of the series that a file belongs to, and the 4x4 to RAS mm.

    Raises:
        RegRefineError: several images at one place, damage.
    """
    series = _tags(file).get(_SERIES)
    if not series:
        raise RegRefineError(f"{file}: DICOM, but no image of a series; name one of its slices")
    return _read(file.parent, series)


def _read(folder: Path, series: str) -> Placed:
    with itk_name(folder) as name, quiet() as said:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(name, series)
        if not names:
            raise RegRefineError(f"{folder}: the DICOM series {series} has no readable slices")
        single = Path(names[0])
        stack = None
        if len(names) == 1 and dicom_frames.frame_count(single) > 1:
            stack = dicom_frames.read(single)
        if stack is None:
            tags = [_tags(Path(each)) for each in names]
            names, tags = _of_one_stack(list(names), tags, folder)
            try:
                image = sitk.ReadImage(names if len(names) > 1 else names[0], sitk.sitkFloat32)
            except RuntimeError as error:
                raise RegRefineError(
                    f"{folder}: the DICOM series cannot be read; export it anew"
                ) from error
            stack = _stack(image, tags)
    said.pass_on(folder)
    if stack is None:
        return _as_stored(sitk.GetArrayFromImage(image)), affine_of(image)
    values, affine = evened(stack, folder)
    return _as_stored(values), affine


def _of_one_stack(
    names: list[str], tags: list[dict[str, str]], folder: Path
) -> tuple[list[str], list[dict[str, str]]]:
    """Return the files without copies of a slice and without slices of another stack.

    Copies have the same instance UID; a localizer in the series has another size or direction.
    """
    both = list(zip(names, tags, strict=True))
    first = {each.get(_INSTANCE, name): n for n, (name, each) in enumerate(both)}
    kept = sorted(first.values())
    copies = len(names) - len(kept)

    def kind(n: int) -> tuple[str, ...]:
        return tuple(tags[n].get(tag, "") for tag in (_ROWS, _COLUMNS, _ORIENTATION))

    kinds = [kind(n) for n in kept]
    main = max(set(kinds), key=kinds.count)
    others = len(kept) - kinds.count(main) if kinds.count(main) > len(kept) / 2 else 0
    if others:
        kept = [n for n, each in zip(kept, kinds, strict=True) if each == main]
    found = [f"{copies} copies of slices"] if copies else []
    found += [f"{others} slices of another size or direction"] if others else []
    if found:
        notice(f"{folder}: {' and '.join(found)} in the series; left out")
    return [names[n] for n in kept], [tags[n] for n in kept]


def _stack(image: sitk.Image, tags: list[dict[str, str]]) -> SliceStack | None:
    """Return a series' slices with their places; None where they do not say them."""
    if not all({_POSITION, _ORIENTATION} <= set(each) for each in tags):
        return None
    values = sitk.GetArrayFromImage(image)
    if values.ndim != 3 or len(values) != len(tags):
        return None
    axes = _numbers([each[_ORIENTATION] for each in tags], 6)
    corners = _numbers([each[_POSITION] for each in tags], 3)
    if axes is None or corners is None:
        return None
    spacing = np.array(image.GetSpacing()[:2])
    return SliceStack(values, flip_points(axes.reshape(-1, 2, 3)), spacing, flip_points(corners))


def _numbers(texts: list[str], count: int) -> FloatArray | None:
    try:
        return np.array([text.split("\\") for text in texts], dtype=float).reshape(-1, count)
    except ValueError:
        return None


def _as_stored(values: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in an integer type, as the slices were stored, others as float32."""
    if not np.isfinite(values).all() or np.abs(values).max() > _EXACT:
        return values
    if not np.array_equal(np.rint(values), values):
        return values
    low, high = int(values.min()), int(values.max())
    return values.astype(narrowest_integer(max(high, 256), min(low, -1)))


def _tags(file: Path) -> dict[str, str]:
    """Return the series, position and orientation of a file, as far as it has them."""
    reader = sitk.ImageFileReader()
    try:
        with itk_name(file) as name, quiet():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise RegRefineError(f"{file}: damaged DICOM file; export the series anew") from error
    wanted = (_SERIES, _POSITION, _ORIENTATION, _INSTANCE, _ROWS, _COLUMNS)
    return {tag: reader.GetMetaData(tag).strip() for tag in wanted if reader.HasMetaDataKey(tag)}
