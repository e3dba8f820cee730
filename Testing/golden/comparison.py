"""One compared value of a golden file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """A value's name, how far it is from the published program's, and how far it may be."""

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return bool(self.difference <= self.tolerance)  # NaN fails


def compare(name: str, found: object, wanted: object, tolerance: float) -> Comparison:
    """Return the largest absolute difference; a wrong shape differs infinitely."""
    a, b = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    if a.shape != b.shape:
        return Comparison(f"{name}: shape {a.shape} not {b.shape}", float("inf"), tolerance)
    if not a.size:
        return Comparison(name, 0.0, tolerance)
    return Comparison(name, float(np.abs(a - b).max()), tolerance)
