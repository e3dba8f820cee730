"""Multi-frame DICOM (enhanced CT, MR, PET): each frame's place, direction and scale, by pydicom.

Source: DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups): a frame's own group goes before the
group that all frames share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from ..errors import RegRefineError
from ..itk_lps import flip_points
from .paths import itk_name, quiet
from .slice_stack import SliceStack

_UNREADABLE = (
    OSError,
    InvalidDicomError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
)


def frame_count(file: Path) -> int:
    """Return how many frames a DICOM file holds."""
    try:
        found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(found.get("NumberOfFrames", 1) or 1)
    except _UNREADABLE:
        return 1


def read(file: Path) -> SliceStack | None:
    """Return a file's frames as slices; None where they do not say where they lie.

    Raises:
        RegRefineError: damage.
    """
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        frames = header.get("PerFrameFunctionalGroupsSequence")
        shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
        if not frames or not _has_places(frames, shared):
            return None
        corners = [_group(f, shared, "PlanePosition").ImagePositionPatient for f in frames]
        axes = [_group(f, shared, "PlaneOrientation").ImageOrientationPatient for f in frames]
        rows, columns = _group(frames[0], shared, "PixelMeasures").PixelSpacing
        return SliceStack(
            _scaled(file, frames, shared),
            flip_points(np.array(axes, dtype=float).reshape(-1, 2, 3)),
            np.array([columns, rows], dtype=float),
            flip_points(np.array(corners, dtype=float)),
        )
    except _UNREADABLE as error:
        raise RegRefineError(f"{file}: damaged multi-frame DICOM; export it anew") from error


def _has_places(frames: Any, shared: Any) -> bool:
    wanted = ("PlanePosition", "PlaneOrientation", "PixelMeasures")
    return all(_group(f, shared, name) is not None for f in frames for name in wanted)


def _group(frame: Any, shared: Any, name: str) -> Any:
    """Return a frame's functional group, its own or the shared one, None if there is neither."""
    for owner in (frame, shared):
        items = owner.get(f"{name}Sequence")
        if items:
            return items[0]
    return None


def _scaled(file: Path, frames: Any, shared: Any) -> NDArray[Any]:
    """Return the values (n, j, i) as float32, each frame under its own slope and intercept."""
    groups = [_group(frame, shared, "PixelValueTransformation") for frame in frames]
    slopes = np.array([1.0 if g is None else float(g.RescaleSlope) for g in groups])
    intercepts = np.array([0.0 if g is None else float(g.RescaleIntercept) for g in groups])
    whole = pydicom.dcmread(file)
    if whole.file_meta.TransferSyntaxUID.is_compressed:
        return _scaled_by_itk(file, slopes, intercepts)
    stored = np.asarray(whole.pixel_array).astype(np.float32)
    stored *= slopes[:, None, None].astype(np.float32)
    stored += intercepts[:, None, None].astype(np.float32)
    return stored


def _scaled_by_itk(file: Path, slopes: NDArray[Any], intercepts: NDArray[Any]) -> NDArray[Any]:
    """Return compressed frames by GDCM, which applies one scale to all of them."""
    if np.ptp(slopes) > 0 or np.ptp(intercepts) > 0:
        raise RegRefineError(f"{file}: compressed frames of several scales; save it uncompressed")
    with itk_name(file) as name, quiet():
        return sitk.GetArrayFromImage(sitk.ReadImage(name, sitk.sitkFloat32))
