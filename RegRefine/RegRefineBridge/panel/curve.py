"""The small curve of a run in the panel: loss and Dice, each over its own range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

LOSS_COLOUR, DICE_COLOUR = "#1f77b4", "#e6842a"


def drawCurve(label: Any, qt: Any, losses: Sequence[float], dices: Sequence[float]) -> None:
    """Draw both into a label, as wide as the label is; nothing for fewer than two values."""
    if len(losses) < 2:
        label.clear()
        return
    width, height = max(40, label.width), max(30, label.height)
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(pixmap)
    for values, colour in ((losses, LOSS_COLOUR), (dices, DICE_COLOUR)):
        pen = qt.QPen()
        pen.setColor(qt.QColor(colour))
        pen.setWidth(2)
        painter.setPen(pen)
        points = polyline(values, width, height)
        for (x0, y0), (x1, y1) in pairwise(points):
            painter.drawLine(int(x0), int(y0), int(x1), int(y1))
    painter.end()
    label.setPixmap(pixmap)


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
