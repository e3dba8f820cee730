"""A result's files: all of them, or none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import RegRefineError
from ..geometry import Geometry
from ..job import Result
from .images import can_hold
from .notices import notice
from .paths import cannot_write
from .transforms import write_affine, write_field
from .volumes import LabelMap, write_labels, write_volume


def write_result(
    result: Result, folder: Path, label_map: LabelMap | None = None
) -> dict[str, Path]:
    """Write a result's files into `folder` and return their paths by role.

    transform.nrrd (the whole field), affine.tfm (its linear part), warped.nii.gz, result.json, and
    where the job made them warped_labels.nii.gz, jacobian.nii.gz, inverse.nrrd. They are written
    aside and moved into place at the end, so that a failure leaves what was there before.

    Args:
        label_map: the moving labels as read: their names and colours are kept by a .seg.nrrd too.

    Raises:
        RegRefineError: the folder cannot be written, the disk is full, or the like.
    """
    folder = Path(folder)
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".regrefine-", dir=folder))
    except OSError as error:
        raise RegRefineError(cannot_write(folder, error)) from error
    try:
        written = _write_all(result, aside, label_map)
        final = {role: folder / path.name for role, path in written.items()}
        for path in final.values():
            if path.is_dir():  # found now, before the first of them is replaced
                raise RegRefineError(f"{path}: is a folder; remove it or choose another folder")
        for role, path in written.items():
            path.replace(final[role])
        return final
    except OSError as error:
        raise RegRefineError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Check that files can be written into `folder`, before the work that makes them; make nothing.

    Raises:
        RegRefineError: it, or what is above it, is a file or forbidden.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RegRefineError(f"{folder}: {there} is a file, not a folder; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RegRefineError(f"{folder}: writing to {there} is not allowed; choose another folder")


def image_ending(grid: Geometry) -> str:
    """Return the ending of the images that are written on a grid.

    A sheared one goes to .nrrd, since ITK and 3D Slicer refuse NIfTI files of it.
    """
    return ".nii.gz" if can_hold("image.nii.gz", grid) else ".nrrd"


def say_ending(grid: Geometry) -> None:
    """Say, before the work is done, where images go to another format than usual."""
    if image_ending(grid) != ".nii.gz":
        notice(
            "the fixed image's axes are not at right angles, which 3D Slicer and other ITK "
            "programs refuse in NIfTI files: images are written as .nrrd"
        )


def _write_all(result: Result, folder: Path, label_map: LabelMap | None) -> dict[str, Path]:
    image = image_ending(result.warped.geometry)
    paths = {
        "transform": folder / "transform.nrrd",
        "affine": folder / "affine.tfm",
        "warped": folder / f"warped{image}",
        "result": folder / "result.json",
    }
    write_field(result.field, paths["transform"])
    write_affine(result.affine, paths["affine"])
    write_volume(result.warped, paths["warped"])
    if result.warped_labels is not None:
        paths["warped_labels"] = folder / f"warped_labels{image}"
        write_labels(result.warped_labels, paths["warped_labels"])
        if label_map is not None and label_map.names:
            paths["warped_segmentation"] = folder / "warped_labels.seg.nrrd"
            named = LabelMap(result.warped_labels, label_map.names, label_map.colours)
            write_labels(named, paths["warped_segmentation"])
    if result.jacobian is not None:
        paths["jacobian"] = folder / f"jacobian{image}"
        write_volume(result.jacobian, paths["jacobian"])
    if result.inverse is not None:
        paths["inverse"] = folder / "inverse.nrrd"
        write_field(result.inverse, paths["inverse"])
    text = json.dumps(result.to_json(), indent=1, allow_nan=False)
    paths["result"].write_text(text + "\n", encoding="utf-8")
    return paths
