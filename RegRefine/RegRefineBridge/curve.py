"""The small curve in the panel: what a run's loss and Dice have done so far, as points to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

Points = list[tuple[float, float]]


def polyline(values: Sequence[float], width: float, height: float, margin: float = 3.0) -> Points:
    """Return the points (x to the right, y down) of a line through values, filling a rectangle.

    The least value lies at the bottom. Values that are not finite are left out; a constant line
    runs through the middle.
    """
    finite = [(index, v) for index, v in enumerate(values) if math.isfinite(v)]
    if len(finite) < 2:
        return []
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    across = (width - 2 * margin) / (len(values) - 1)
    up = (height - 2 * margin) / (high - low) if high > low else 0.0
    middle = height / 2
    return [
        (margin + index * across, height - margin - (v - low) * up if up else middle)
        for index, v in finite
    ]
