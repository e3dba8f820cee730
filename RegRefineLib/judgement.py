"""When a result is worse than what it began from; standard library only, for both halves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# metric -> 1 if more of it is better, -1 if less of it is
DIRECTION = {"dice": 1, "hd95_mm": -1, "assd_mm": -1, "tre_mm": -1, "ncc": 1, "folds_percent": -1}
# the metrics by which a result is judged, and the change below which it counts as the same
TOLERANCE = {"dice": 1e-3, "ncc": 1e-3, "tre_mm": 1e-2}


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

    Correlations are compared by their size: in images of two kinds, bright may correspond to dark.
    """
    before, after = single_values(start), single_values(end)
    found = {}
    for name, tolerance in TOLERANCE.items():
        if name not in before or name not in after:
            continue
        values = (before[name], after[name])
        gain = abs(values[1]) - abs(values[0]) if name == "ncc" else values[1] - values[0]
        if DIRECTION[name] * gain < -tolerance:
            found[name] = values
    return found
