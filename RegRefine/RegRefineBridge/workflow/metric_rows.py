"""The metrics of a run as rows for people: names that a clinician knows, units, three digits.

    for row in metricRows(record, names):
        row.structure, row.measure, row.texts     # one text a column of `columns(record)`

Used by the table in the scene, the panel and the report, so that all three say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from RegRefineLib.judgement import DIRECTION

from ..i18n import _

# metric -> the smallest change that counts
LEAST_CHANGE = {"dice": 0.001, "ncc": 0.001, "folds_percent": 0.001}
LEAST_CHANGE_MM = 0.01
ALL = "mean"


@dataclass(frozen=True)
class MetricRow:
    """One metric of one structure.

    Attributes:
        metric: its name in the record; measure: the same in words, with the unit.
        structure: its name, "" for a metric of the whole image.
        values: one for each column, None where it was not measured.
        change: 1 where the last column is better than the first, -1 worse, 0 the same or neither.
    """

    metric: str
    measure: str
    structure: str
    values: tuple[float | None, ...]
    change: int

    @property
    def texts(self) -> tuple[str, ...]:
        """The values with three digits; an empty text where there is none."""
        return tuple("" if value is None else number(self.metric, value) for value in self.values)

    @property
    def verdict(self) -> str:
        """Return better, worse or nothing, in words."""
        return {1: _("better"), -1: _("worse")}.get(self.change, "")


def measureWords(metric: str) -> str:
    """Return a metric's name and unit for people; "" for those of specialists (result.json)."""
    return {
        "dice": _("Dice overlap"),
        "hd95_mm": _("95 % surface distance (mm)"),
        "assd_mm": _("mean surface distance (mm)"),
        "tre_mm": _("landmark error (mm)"),
        "ncc": _("correlation of intensities"),
        "folds_percent": _("folded voxels (%)"),
        "sd_log_jacobian": _("roughness (SD of ln J)"),
        "det_below_0.1_percent": _("squeezed below a tenth (%)"),
        "det_above_10_percent": _("stretched above ten times (%)"),
        "largest_mm": _("largest displacement (mm)"),
    }.get(metric, "")


def number(metric: str, value: float) -> str:
    """Return a value with three digits, as the metric is usually written."""
    if metric in ("dice", "ncc"):
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def columns(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the stages that a result has metrics of, by their name in the record, in words.

    The linear part is left out where there is none: its metrics are then those of the start.
    """
    found = {"before": _("before")}
    if record.get("initial"):
        found["initial"] = _("initial transform")
    linear = record.get("affine_only")
    if linear and linear != record.get("before"):
        found["affine_only"] = _("linear part")
    found["after"] = _("after")
    return found


def metricRows(record: Mapping[str, Any], names: Mapping[int, str]) -> list[MetricRow]:
    """Return the rows of a result: metrics of the whole first, then structure by structure.

    Args:
        record: result.json.
        names: the structures' names by label.
    """
    stages = list(columns(record))
    cells: dict[tuple[str, str], dict[str, float | None]] = {}
    for stage in stages:
        for metric, label, value in _single(record.get(stage) or {}):
            cells.setdefault((metric, label), {})[stage] = value
    rows = []
    for (metric, label), row in cells.items():
        values = tuple(row.get(stage) for stage in stages)
        rows.append(
            MetricRow(
                metric,
                measureWords(metric),
                _structure(label, names),
                values,
                _change(metric, values[0], values[-1]),
            )
        )
    order = {name: rank for rank, name in enumerate(["", _("all structures"), *names.values()])}
    return sorted(rows, key=lambda row: order.get(row.structure, len(order)))


def _single(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Yield (metric, label, value) of what people read; label is "" for the whole image."""
    for metric, value in metrics.items():
        if not measureWords(metric):
            continue
        if isinstance(value, Mapping):
            for label, single in value.items():
                yield metric, str(label), single
        else:
            yield metric, ALL if metric == "assd_mm" else "", value


def _structure(label: str, names: Mapping[int, str]) -> str:
    if label in ("", ALL):
        return _("all structures") if label else ""
    if not label.lstrip("-").isdigit():
        return label
    return names.get(int(label), _("label {number}").format(number=label))


def _change(metric: str, first: float | None, last: float | None) -> int:
    direction = DIRECTION.get(metric, 0)
    if first is None or last is None or not direction:
        return 0
    gain = abs(last) - abs(first) if metric == "ncc" else last - first
    if abs(gain) < LEAST_CHANGE.get(metric, LEAST_CHANGE_MM):
        return 0
    return direction if gain > 0 else -direction
