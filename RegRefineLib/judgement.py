"""The metrics of a result in words, and whether they are worse than at the start.

Standard library only, since both the library and the Slicer module use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .job import Result


class Metric(NamedTuple):
    """How a metric is shown: its title, unit, digits, and 1 if more is better, -1 if less is."""

    title: str
    unit: str = ""
    digits: int = 3
    better: int = 0


METRICS = {
    "dice": Metric("Dice", better=1),
    "hd95_mm": Metric("HD95", "mm", 2, -1),
    "assd_mm": Metric("ASSD", "mm", 2, -1),
    "tre_mm": Metric("TRE", "mm", 2, -1),
    "ncc": Metric("NCC", better=1),
    "folds_percent": Metric("folds", "%", 4, -1),
    "sd_log_jacobian": Metric("SD of ln det J"),
    "sd_log_jacobian_inside": Metric("SD of ln det J, body"),
    "det_below_0.1_percent": Metric("volume below 1/10", "%"),
    "det_below_0.3_percent": Metric("volume below 3/10", "%"),
    "det_above_3_percent": Metric("volume above 3", "%"),
    "det_above_10_percent": Metric("volume above 10", "%"),
    "largest_gradient": Metric("largest gradient", "", 2),
    "bending_energy": Metric("bending energy", "1/mm^2", 5),
    "sdlogj": Metric("Learn2Reg's SD of log(det J + 3)"),
    "largest_mm": Metric("largest displacement", "mm", 1),
}
# metric -> 1 if more of it is better, -1 if less of it is
DIRECTION = {name: metric.better for name, metric in METRICS.items() if metric.better}
# the metrics by which a result is judged, and the change below which it counts as the same
TOLERANCE = {"dice": 1e-3, "ncc": 1e-3, "tre_mm": 1e-2}
# of those shown with a mark where they are worse, the changes that count
_SHOWN_TOLERANCE = {**TOLERANCE, "hd95_mm": 1e-2, "assd_mm": 1e-2, "folds_percent": 1e-3}


def stages(result: Result | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of a Result or its JSON by stage: before, initial or affine, after."""
    if isinstance(result, Mapping):
        before, initial, affine, after = (
            result.get(name) for name in ("before", "initial", "affine_only", "after")
        )
    else:
        before, initial = result.before, result.initial
        affine, after = result.affine_only, result.after
    middle = {"affine": affine} if initial is None else {"initial": initial}
    return {"before": before or {}, **{k: v or {} for k, v in middle.items()}, "after": after or {}}


def table(measured: Mapping[str, Mapping[str, Any]], verdicts: bool = False) -> list[list[str]]:
    """Return rows of text: a header with the stages' names, then one row per available metric.

    Args:
        verdicts: add a last column that states whether the last stage is better or worse than the
            one before it, for metrics where that is defined.
    """
    rows = [["", *measured, *([""] if verdicts else [])]]
    for name, metric in METRICS.items():
        values = [single_value(metrics.get(name)) for metrics in measured.values()]
        if all(value is None for value in values):
            continue
        cells = ["-" if value is None else f"{value:.{metric.digits}f}" for value in values]
        title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        rows.append([title, *cells, *([verdict(name, *values[-2:])] if verdicts else [])])
    return rows


def verdict(name: str, start: float | None, end: float | None = None) -> str:
    """Return "better", "same" or "WORSE" for a metric; empty where that is undefined."""
    better = METRICS[name].better
    if start is None or end is None or not better:
        return ""
    gain = better * (abs(end) - abs(start) if name == "ncc" else end - start)
    if abs(gain) <= _SHOWN_TOLERANCE[name]:
        return "same"
    return "better" if gain > 0 else "WORSE"


def single_value(metric: Any) -> float | None:
    """Return a metric as one number, the mean where it has a value per label; None: unknown."""
    return metric.get("mean") if isinstance(metric, Mapping) else metric


def single_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return one number for each metric that was measured."""
    single = {name: single_value(metric) for name, metric in metrics.items()}
    return {
        name: float(value)
        for name, value in single.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def worse(start: Mapping[str, Any], end: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the metrics by which `end` is worse than `start`, with both values.

    Correlations are compared by magnitude: across modalities, bright may correspond to dark.
    """
    before, after = single_values(start), single_values(end)
    found = {}
    for name, tolerance in TOLERANCE.items():
        if name not in before or name not in after:
            continue
        values = (before[name], after[name])
        gain = abs(values[1]) - abs(values[0]) if name == "ncc" else values[1] - values[0]
        if METRICS[name].better * gain < -tolerance:
            found[name] = values
    return found
