"""One DICOM series from a folder, or from any file of it, with a look at where its slices lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import RegRefineError
from .paths import quiet

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
_UNEVEN = 0.02  # of the distance between slices
_SAME_PLACE_MM = 1e-3
_MAGIC_AT = 128


def is_dicom(file: Path) -> bool:
    """Return whether a file starts as DICOM files do, whatever it is called."""
    with file.open("rb") as opened:
        opened.seek(_MAGIC_AT)
        return opened.read(4) == b"DICM"


def read_folder(folder: Path) -> sitk.Image:
    """Return the image of the one series in a folder.

    Raises:
        RegRefineError: no series or several of them, missing or unevenly spaced slices, damage.
    """
    with quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise RegRefineError(f"{folder}: no DICOM series in this folder; name an image file")
    if len(series) > 1:
        raise RegRefineError(
            f"{folder}: {len(series)} DICOM series in this folder; name a file of the one wanted"
        )
    return _read(folder, series[0])


def read_series_of(file: Path) -> sitk.Image:
    """Return the image of the series that a DICOM file belongs to, from the files beside it.

    Raises:
        RegRefineError: missing or unevenly spaced slices, damage.
    """
    series = _tags(file).get(_SERIES)
    if not series:
        raise RegRefineError(f"{file}: DICOM, but no image of a series; name one of its slices")
    return _read(file.parent, series)


def _read(folder: Path, series: str) -> sitk.Image:
    with quiet():
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
    if not names:
        raise RegRefineError(f"{folder}: the DICOM series {series} has no readable slices")
    _check_slices(folder, [_tags(Path(name)) for name in names])
    try:
        with quiet():
            return sitk.ReadImage(names if len(names) > 1 else names[0])
    except RuntimeError as error:
        raise RegRefineError(
            f"{folder}: the DICOM series cannot be read; export it anew"
        ) from error


def _tags(file: Path) -> dict[str, str]:
    """Return the series, position and orientation of a file, as far as it has them."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise RegRefineError(f"{file}: damaged DICOM file; export the series anew") from error
    wanted = (_SERIES, _POSITION, _ORIENTATION)
    return {tag: reader.GetMetaData(tag).strip() for tag in wanted if reader.HasMetaDataKey(tag)}


def _check_slices(folder: Path, slices: list[dict[str, str]]) -> None:
    """Check that the slices lie at equal distances, right behind each other."""
    if len(slices) < 2 or not all({_POSITION, _ORIENTATION} <= set(tags) for tags in slices):
        return
    axes = np.array([s[_ORIENTATION].split("\\") for s in slices], dtype=float).reshape(-1, 2, 3)
    places = np.array([s[_POSITION].split("\\") for s in slices], dtype=float)
    normal = np.cross(axes[0, 0], axes[0, 1])
    steps = np.diff(places, axis=0)
    if np.diff(np.sort(places @ normal)).min() < _SAME_PLACE_MM:
        raise RegRefineError(
            f"{folder}: several images at one place (a 4-D series?); save one 3-D image of it"
        )
    gaps = np.abs(steps @ normal)
    if np.ptp(gaps) > _UNEVEN * np.median(gaps):
        raise RegRefineError(
            f"{folder}: slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart (some missing?); "
            "export the whole series or resample it evenly"
        )
    aside = np.linalg.norm(steps - (steps @ normal)[:, None] * normal, axis=1)
    if aside.max() > _UNEVEN * np.median(gaps) or np.ptp(axes, axis=0).max() > 1e-3:
        raise RegRefineError(
            f"{folder}: the slices are not stacked at right angles (tilted gantry?); "
            "resample the series to a straight grid first"
        )
