"""Image similarity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def ncc(fixed: NDArray[Any], warped: NDArray[Any], mask: NDArray[Any] | None = None) -> float:
    """Return the global normalised cross-correlation (Pearson's), -1 to 1.

    Args:
        fixed, warped: images of one shape.
        mask: compare where it is not 0; None: everywhere.

    NaN where an image is constant or the mask is empty.
    """
    a, b = np.asarray(fixed), np.asarray(warped)
    if a.shape != b.shape or (mask is not None and np.asarray(mask).shape != a.shape):
        raise ValueError(f"images and mask: one shape is needed, got {a.shape} and {b.shape}")
    if mask is not None:
        inside = np.asarray(mask) != 0
        a, b = a[inside], b[inside]
    if not a.size or a.min() == a.max() or b.min() == b.max():
        return math.nan
    a, b = (x.ravel() - x.mean(dtype=np.float64) for x in (a, b))
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))
