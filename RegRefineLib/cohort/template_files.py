"""The files of a template's iterations, and how each one is known to be done."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry import FloatArray, Geometry, Volume
from ..io.paths import written_aside
from ..io.transforms import read_transform, write_affine
from ..io.volumes import read_volume
from .compact import compact, write_compact
from .execute import RUNS
from .manifest import Scan
from .runs import Run
from .shape_update import Mapping as ScanMap


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to; a row of convergence.tsv.

    The mean field is measured where every scan has voxels, before it is taken out.
    """

    iteration: int
    kind: str
    used: int
    of: int
    mean_field_mm: float
    largest_mean_field_mm: float
    stretch_determinant: float
    gradient_energy: float
    correlation_with_previous: float


def centre_of_mass(volume: Volume) -> FloatArray:
    """Return the centre of mass in RAS mm of what stands out above the lowest value."""
    weights = volume.array - volume.array.min()
    total = float(weights.sum(dtype=np.float64))
    if total == 0:
        return volume.geometry.centre
    axes = [np.arange(n) for n in volume.array.shape]
    index = [
        float((weights.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
               * axes[axis]).sum() / total)
        for axis in (2, 1, 0)
    ]  # fmt: skip
    return volume.geometry.to_ras(index)


def padded_grid(
    scans: Sequence[Scan], middles: Mapping[str, FloatArray], spacing: float, margin: float
) -> Geometry:
    """Return a grid that holds every scan about its middle, with a margin against drift.

    Its axes are the first scan's, its middle the mean of theirs, its voxels cubes of `spacing` mm.
    """
    axes = read_volume(scans[0].image).geometry.direction
    reach = np.zeros(3)
    for scan in scans:
        corners = read_volume(scan.image).geometry.corners() - middles[scan.id]
        reach = np.maximum(reach, np.abs(corners @ axes).max(axis=0))
    shape = np.ceil(2 * reach * (1 + margin) / spacing).astype(int)[::-1]
    first = Geometry.from_parts(shape, [spacing] * 3, axes, (0, 0, 0))
    centre = np.mean(list(middles.values()), axis=0)
    return Geometry.from_parts(shape, [spacing] * 3, axes, centre - first.centre)


def read_map(run: Run, place: Path, grid: Geometry) -> ScanMap:
    """Return the map that a run found, on the template's grid."""
    folder = place / RUNS / run.name
    field_found = read_transform(folder / "transform.nrrd")
    affine = np.asarray(read_transform(folder / "affine.tfm"), dtype=float)
    return ScanMap.from_field(field_found, affine, grid)  # type: ignore[arg-type]


def write_map(mapping: ScanMap, folder: Path, name: str, bound_mm: float) -> None:
    """Write a scan's map: the whole compact field and its linear part."""
    folder.mkdir(parents=True, exist_ok=True)
    write_compact(compact(mapping.whole(), bound_mm)[0], folder / f"{name}.nrrd")
    write_affine(mapping.affine, folder / f"{name}_affine.tfm")


def key_of(runs: Sequence[Run], decides: Sequence[Any]) -> str:
    """Return the hash of all that decides an iteration's template."""
    words = [run.digest for run in runs] + [repr(each) for each in decides]
    return hashlib.sha256("|".join(words).encode()).hexdigest()


def note(place: Path, key: str, row: Iteration, used: Sequence[str]) -> None:
    """Write that an iteration is done."""
    with written_aside(place / "iteration.json") as aside:
        text = json.dumps({"key": key, "row": asdict(row), "used": list(used)})
        aside.write_text(text + "\n", encoding="utf-8")


def ready(place: Path, key: str) -> tuple[Iteration, tuple[str, ...]] | None:
    """Return what a finished iteration with the same key came to, or None."""
    try:
        found: dict[str, Any] = json.loads((place / "iteration.json").read_text(encoding="utf-8"))
        return (Iteration(**found["row"]), tuple(found["used"])) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_rows(rows: Sequence[Iteration], folder: Path) -> None:
    """Write convergence.tsv."""
    with written_aside(folder / "convergence.tsv") as aside, aside.open("w", newline="") as file:
        names = list(asdict(rows[0]))
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            writer.writerow(
                {n: f"{v:.6g}" if isinstance(v, float) else v for n, v in values.items()}
            )


def sentence(row: Iteration) -> str:
    """Return what an iteration came to, for a person."""
    counted = f"{row.used} of {row.of} scans" if row.used < row.of else f"{row.of} scans"
    return (
        f"iteration {row.iteration} ({row.kind}, {counted}): "
        f"mean field {row.mean_field_mm:.3f} mm, "
        f"determinant of the mean stretch {row.stretch_determinant:.4f}, "
        f"gradient energy {row.gradient_energy:.4f}, "
        f"correlation with the last {row.correlation_with_previous:.4f}"
    )
