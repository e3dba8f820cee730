"""What a followed series leaves behind, a frame at a time."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ..cohort.shape_update import Mapping as ScanMap
from ..geometry import FloatArray, Volume
from ..io.paths import written_aside
from ..io.transforms import write_field
from ..io.volumes import LabelMap, write_labels, write_volume
from ..itk_lps import SIGNS
from ..metrics.jacobian import determinant, folds_percent
from ..metrics.similarity import ncc
from ..ops.warp import from_millimetres
from ..resample import resample
from .series import Series
from .track import Tracked

QUALITY = {
    "frame": "counted from 0",
    "value": "of the index (a time, a phase)",
    "ncc_before": "correlation of the reference and the frame as it came",
    "ncc": "correlation of the reference and the frame brought onto it",
    "folds_percent": "voxels whose determinant is not above 0",
    "mean_mm": "mean displacement",
    "largest_mm": "largest displacement",
    "volume_change": "mean determinant: above 1 where the frame is larger than the reference",
    "seconds": "of the registration",
}


class Writer:
    """Writes into a folder; `reference` is the reference frame's volume."""

    def __init__(self, folder: Path, series: Series, reference: Volume):
        self.folder, self.series, self.reference = folder, series, reference
        self._mean = np.zeros(series.geometry.shape)
        self._count = 0
        self._rows: list[dict[str, Any]] = []

    def frame(self, number: int, tracked: Tracked) -> Volume:
        """Write a frame's field and Jacobian, and return the frame brought onto the reference."""
        field = tracked.field(number, self.series)
        name = f"frame-{number:04d}"
        write_field(field, self.folder / "transforms" / f"{name}.nrrd")
        frame = self.series.frame(number)
        warped = resample(frame, self.series.geometry, field, outside=float(frame.array.min()))
        jacobian = determinant(from_millimetres(field)[0].double().numpy())
        volume = Volume(jacobian.astype(np.float32), self.series.geometry)
        write_volume(volume, self.folder / "jacobian" / f"{name}.nii.gz")
        self._mean += warped.array
        self._count += 1
        lengths = np.linalg.norm(field.vectors, axis=-1)
        self._rows.append({
            "frame": number,
            "value": self.series.values[number],
            "ncc_before": ncc(self.reference.array, frame.array),
            "ncc": ncc(self.reference.array, warped.array),
            "folds_percent": folds_percent(jacobian),
            "mean_mm": float(lengths.mean()),
            "largest_mm": float(lengths.max()),
            "volume_change": float(jacobian.mean()),
            "seconds": tracked.rows.get(number, {}).get("seconds", 0.0),
        })  # fmt: skip
        return warped

    def finish(self) -> None:
        """Write the mean of the warped frames and quality.tsv."""
        mean = (self._mean / max(self._count, 1)).astype(np.float32)
        write_volume(Volume(mean, self.series.geometry), self.folder / "mean.nii.gz")
        write_rows(self.folder / "quality.tsv", list(QUALITY), self._rows)

    def labels(self, number: int, tracked: Tracked, labels: LabelMap) -> None:
        """Carry the reference's labels to a frame, through the inverse of its field."""
        mapping = ScanMap(np.eye(4), tracked.field(number, self.series))
        back, _ = mapping.inverse(self.series.geometry)
        moved = resample(labels.volume, self.series.geometry, back, "nearest")
        path = self.folder / "labels" / f"frame-{number:04d}"
        if labels.names:
            named = LabelMap(moved, labels.names, labels.colours)
            write_labels(named, path.with_name(f"{path.name}.seg.nrrd"))
        write_labels(moved, path.with_name(f"{path.name}.nii.gz"))


class WarpedSeries:
    """A 4-D NIfTI that is written a frame at a time: warped.nii."""

    def __init__(self, path: Path, series: Series):
        shape = (*series.geometry.shape[::-1], len(series))
        image = nibabel.Nifti1Image(np.empty((1, 1, 1, 1), np.float32), series.geometry.affine)
        header = image.header.copy()
        header.set_data_shape(shape)
        header.set_xyzt_units("mm", "sec" if series.unit in ("s", "sec") else None)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        header.set_sform(series.geometry.affine, 1)
        self._file = path.open("wb")
        self._file.write(header.binaryblock + b"\0\0\0\0")

    def add(self, array: FloatArray) -> None:
        """Write one more frame (k, j, i); x changes fastest in both."""
        self._file.write(np.ascontiguousarray(array, "<f4").tobytes())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_transform_sequence(tracked: Tracked, series: Series, path: Path) -> None:
    """Write all fields as one standard NRRD, as Slicer 5.12 reads a sequence of transforms.

    Axes: vector (LPS mm), i, j, k, list; written a frame at a time.
    """
    grid = series.geometry
    affine = grid.affine.copy()
    affine[:3] *= SIGNS[:, None]
    columns = [f"({','.join(repr(float(v)) for v in affine[:3, c])})" for c in range(3)]
    sizes = " ".join(map(str, (3, *grid.shape[::-1], len(series))))
    lines = [
        "NRRD0005",
        "type: float",
        "dimension: 5",
        "space: left-posterior-superior",
        f"sizes: {sizes}",
        f"space directions: none {' '.join(columns)} none",
        "kinds: vector domain domain domain list",
        f'labels: "" "i" "j" "k" "{series.index_name}"',
        f'units: "" "mm" "mm" "mm" "{series.unit}"',
        "endian: little",
        "encoding: raw",
        f"space origin: ({','.join(repr(float(v)) for v in affine[:3, 3])})",
        "axis 4 index type:=" + ("numeric" if _are_numbers(series.values) else "text"),
        f"axis 4 index values:={' '.join(series.values)}",
        "displacement field type:=resampling",
        "DataNodeClassName:=vtkMRMLGridTransformNode",
    ]
    with written_aside(path) as aside, aside.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        for number in range(len(series)):
            file.write((tracked.fields[number] * SIGNS).astype("<f4").tobytes())


def write_paths(
    names: list[str], points: FloatArray, tracked: Tracked, series: Series, path: Path
) -> None:
    """Write where each landmark of the reference lies in every frame: a row each, RAS mm."""
    rows = []
    for number in range(len(series)):
        moved = tracked.field(number, series).at(points)
        for name, start, step in zip(names, points, moved, strict=True):
            x, y, z = start + step
            rows.append({"frame": number, "value": series.values[number], "name": name,
                         "x": x, "y": y, "z": z,
                         "from_reference_mm": float(np.linalg.norm(step))})  # fmt: skip
    write_rows(path, list(rows[0]), rows)


def write_rows(path: Path, columns: list[str], rows: list[Mapping[str, Any]] | Any) -> None:
    """Write a table with a header."""
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = [row[name] for name in columns]
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])


def _are_numbers(values: tuple[str, ...]) -> bool:
    try:
        return all(np.isfinite(float(value)) for value in values)
    except ValueError:
        return False
