"""cohort.tsv: a row for each run, with what is far from the others by median and MAD.

Its columns are described in cohort.json beside it, as BIDS describes tables.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io.paths import written_aside

FAR = 3.5  # robust z beyond which a run is flagged (Iglewicz and Hoaglin 1993)
_NORMAL = 0.6745  # the MAD of a normal distribution, in standard deviations
_MEAN_NORMAL = 0.7979  # its mean absolute deviation

# column -> when, metric, the sign of what is worse (+1: high is), meaning
METRICS: dict[str, tuple[str, str, int, str]] = {
    "ncc_before": ("before", "ncc", 0, "correlation of the images as they came"),
    "ncc": ("after", "ncc", -1, "correlation of the fixed and the warped image"),
    "dice_before": ("before", "dice", 0, "mean Dice of the labels as they came"),
    "dice": ("after", "dice", -1, "mean Dice of the labels"),
    "hd95_mm": ("after", "hd95_mm", 1, "mean 95th percentile of the borders' distance"),
    "tre_before_mm": ("before", "tre_mm", 0, "mean distance of the landmarks as they came"),
    "tre_mm": ("after", "tre_mm", 1, "mean distance of the landmarks"),
    "folds_percent": ("after", "folds_percent", 1, "voxels whose determinant is not above 0"),
    "sd_log_jacobian": ("after", "sd_log_jacobian", 1, "roughness: SD of ln det J"),
    "largest_mm": ("after", "largest_mm", 1, "the longest displacement"),
}
_HEAD = {
    "run": "name of the folder below runs/",
    "fixed": "id of the scan that stays",
    "moving": "id of the scan that is brought onto it",
    "session": "of the moving scan, from the manifest",
    "group": "of the moving scan, from the manifest",
    "status": "done, failed or missing (not run yet)",
    "flag": "metrics whose robust z is beyond 3.5 on the worse side; empty: none",
    "seconds": "wall seconds of the run, reading and writing included",
    "memory_mb": "peak memory of its process up to its end, MB",
}
_TAIL = {"warnings": "number of warnings in run.json", "reason": "why it failed"}


def columns() -> dict[str, str]:
    """Return every column of cohort.tsv with its meaning, in order."""
    metrics = {name: row[3] for name, row in METRICS.items()}
    scores = {
        f"z_{name}": f"robust z of {name}: 0.6745 (value - median) / MAD over the runs done"
        for name, row in METRICS.items()
        if row[2]
    }
    return {**_HEAD, **metrics, **scores, **_TAIL}


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each record, with robust z and flags; None is a value that is not there."""
    rows = [_row(record) for record in records]
    for name, (_, _, worse, _) in METRICS.items():
        if not worse:
            continue
        for row, z in zip(rows, robust_z([row[name] for row in rows]), strict=True):
            row[f"z_{name}"] = z
            if z is not None and worse * z > FAR:
                row["flag"] = f"{row['flag']},{name}".lstrip(",")
    return rows


def robust_z(values: Sequence[float | None]) -> list[float | None]:
    """Return 0.6745 (x - median) / MAD; where more than half are equal, by the mean deviation."""
    known = np.array([v for v in values if v is not None], dtype=float)
    if len(known) < 3:
        return [None] * len(values)
    middle = float(np.median(known))
    spread = float(np.median(np.abs(known - middle))) / _NORMAL
    if spread < 1e-12:
        spread = float(np.abs(known - middle).mean()) / _MEAN_NORMAL
    if spread < 1e-12:
        return [None if v is None else 0.0 for v in values]
    return [None if v is None else (v - middle) / spread for v in values]


def write_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write cohort.tsv and the meaning of its columns; return the table's path."""
    meaning = columns()
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(meaning)
    writer.writerows([[_cell(row.get(name)) for name in meaning] for row in rows])
    path = folder / "cohort.tsv"
    with written_aside(path) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8")
    with written_aside(folder / "cohort.json") as aside:
        described = {name: {"Description": words} for name, words in meaning.items()}
        aside.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return path


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: record.get(name, "") for name in _HEAD}
    row["flag"] = ""
    for name, (when, metric, _, _) in METRICS.items():
        value = (record.get(when) or {}).get(metric)
        value = value.get("mean") if isinstance(value, Mapping) else value
        good = isinstance(value, (int, float)) and math.isfinite(value)
        row[name] = float(str(value)) if good else None
    row["warnings"] = len(record.get("warnings", ()))
    row["reason"] = record.get("reason", "")
    return row


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())
