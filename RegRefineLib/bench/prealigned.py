"""The input of every tool: both images as NIfTI files on the fixed grid, affinely aligned.

The alignment is RegRefine's, computed once per pair and stored in its folder, so that only the
tools' deformable stages are compared. If the moving scan does not cover the fixed grid, a mask
marks its field of view and is passed to every tool that accepts one, because the padding outside is
not image data.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geometry import FloatArray, Volume
from ..io.volumes import read_volume, write_volume
from ..linear.search import align
from ..resample import antialiased, covered, resample
from .cases import Case
from .records import revision

MASK = "mask.nii"


@dataclass(frozen=True, eq=False)
class Aligned:
    """The files of an aligned pair.

    Attributes:
        fixed, moving: the files.
        matrix: 4x4, fixed RAS mm -> moving RAS mm, already applied to `moving`.
        seconds: CPU seconds of the alignment.
        mask: the file that is 1 in the moving image's field of view; None if that is all of the
            grid.
        revision: of the library that aligned it, since existing files are reused.
    """

    fixed: Path
    moving: Path
    matrix: FloatArray
    seconds: float
    mask: Path | None = None
    revision: str = ""


def aligned(case: Case, folder: Path, with_affine: bool = True) -> Aligned:
    """Return the pair's files under `folder`, creating them if they do not exist yet."""
    kind = case.affine if with_affine else "none"
    place = folder / f"{file_name(case.name)}-{kind}"
    notes = place / "affine.json"
    files = place / "fixed.nii", place / "moving.nii"
    if notes.exists():
        kept = json.loads(notes.read_text(encoding="utf-8"))
        matrix, spent = np.array(kept["matrix"]), kept["seconds"]
        if "masked" not in kept:  # written by a version without masks
            _note(notes, matrix, spent, _mask(*case.images(), matrix, place), "")
            return aligned(case, folder, with_affine)
        mask = place / MASK if kept["masked"] else None
        return Aligned(*files, matrix, spent, mask, kept.get("revision", ""))
    place.mkdir(parents=True, exist_ok=True)
    fixed, moving = case.images()
    started = time.process_time()
    matrix = align(fixed, moving, kind, intensity=case.intensity)
    spent = time.process_time() - started if kind != "none" else 0.0
    write_volume(_float(fixed), files[0])
    write_volume(_onto(moving, fixed, matrix), files[1])
    mask = _mask(fixed, moving, matrix, place)
    made_by = revision()
    _note(notes, matrix, spent, mask, made_by)
    return Aligned(*files, matrix, spent, mask, made_by)


def grid_of(pair: Aligned) -> Volume:
    """Return the fixed image as stored in its file."""
    return read_volume(pair.fixed)


def file_name(text: str) -> str:
    """Return the text as a file name: letters, digits, dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def _note(notes: Path, matrix: FloatArray, seconds: float, mask: Path | None, made_by: str) -> None:
    kept = {
        "matrix": matrix.tolist(),
        "seconds": seconds,
        "masked": mask is not None,
        "revision": made_by,
    }
    notes.write_text(json.dumps(kept), encoding="utf-8")


def _mask(fixed: Volume, moving: Volume, matrix: FloatArray, place: Path) -> Path | None:
    """Write the moving image's field of view on the fixed grid; None if it covers the grid."""
    inside = covered(moving.geometry, fixed.geometry, matrix)
    if inside is None:
        return None
    write_volume(inside, place / MASK)
    return place / MASK


def _float(volume: Volume) -> Volume:
    return Volume(volume.array.astype(np.float32), volume.geometry)


def _onto(moving: Volume, fixed: Volume, matrix: FloatArray) -> Volume:
    """Return the moving image on the fixed grid, padded with its lowest value (air in CT)."""
    if np.array_equal(matrix, np.eye(4)) and moving.geometry.same_grid(fixed.geometry):
        return Volume(moving.array.astype(np.float32), fixed.geometry)
    source = antialiased(moving, fixed.geometry, matrix)
    return resample(source, fixed.geometry, matrix, outside=float(moving.array.min()))
