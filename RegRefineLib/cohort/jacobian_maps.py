"""Maps of volume change for statistics: log determinants on the template's grid.

A map from the template to a scan has a determinant above 1 where the scan is larger than the
template, so the logarithm is above 0 there. Read the other way round it is the most frequent
mistake with such maps (ANTs issues 640 and 670), so every file says it in its header.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..geometry import Volume
from ..io.paths import written_aside
from ..itk_lps import to_image
from ..metrics.jacobian import determinant
from ..ops.warp import from_millimetres
from ..resample import smoothed
from .shape_update import Mapping

MEANING = "ln det J, above 0 where the scan is larger"
# the determinant of a fold is not above 0; its logarithm is that of this value
_LEAST = 1e-3
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class MapRow:
    """A row of maps.tsv, as nilearn's SecondLevelModel reads it, with the manifest's columns."""

    subject_label: str
    map_name: str
    effects_map_path: str
    group: str = ""
    session: str = ""


def log_jacobian(mapping: Mapping, *, with_affine: bool) -> Volume:
    """Return ln det of a map from the template to a scan, per voxel of the template.

    Args:
        with_affine: the whole map: differences of size count (absolute). Else the residual alone,
            without the linear growth that is left in it (relative).
    """
    grid = mapping.residual.geometry
    displacement = from_millimetres(mapping.residual)[0].double().numpy()
    found = np.log(np.maximum(determinant(displacement), _LEAST))
    if with_affine:
        found = found + np.log(abs(np.linalg.det(mapping.affine[:3, :3])))
    return Volume(found.astype(np.float32), grid)


def without_mean(volume: Volume, mask: NDArray[np.bool_]) -> Volume:
    """Return a relative map without its mean inside the mask: growth that was left as a field."""
    mean = float(np.log(np.exp(volume.array[mask]).mean()))
    return Volume(volume.array - np.float32(mean), volume.geometry)


def blurred(volume: Volume, fwhm_mm: float) -> Volume:
    """Return a map under a Gaussian of that full width at half maximum; 0: as it is."""
    return smoothed(volume, fwhm_mm / _FWHM) if fwhm_mm > 0 else volume


def write_map(volume: Volume, path: Path) -> None:
    """Write a map as NIfTI whose description says what its sign means (80 characters at most)."""
    image = to_image(volume)
    image.SetMetaData("ITK_FileNotes", MEANING)  # which becomes NIfTI's descrip
    with written_aside(path) as aside:
        sitk.WriteImage(image, str(aside), True)


def write_table(rows: Sequence[MapRow], folder: Path) -> Path:
    """Write maps.tsv and return its path."""
    path = folder / "maps.tsv"
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(MapRow.__dataclass_fields__)
        writer.writerows([[getattr(row, n) or "n/a" for n in row.__dataclass_fields__]
                          for row in rows])  # fmt: skip
    return path


def volumes_ml(labels: Volume, names: Table[int, str] | None = None) -> dict[str, float]:
    """Return the volume of each label in millilitres, by its name or number."""
    each = abs(np.linalg.det(labels.geometry.affine[:3, :3])) / 1000.0
    numbers, counts = np.unique(labels.array, return_counts=True)
    known = names or {}
    return {
        known.get(int(n), str(int(n))): float(count) * float(each)
        for n, count in zip(numbers, counts, strict=True)
        if n != 0
    }
