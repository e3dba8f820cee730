"""Dice of label maps: every label from one pass, in the variants that publications report.

The variants differ in the value of an absent label, and in the constant added to the denominator:

=============== ======== =======================================================================
variant         constant a label that is absent
=============== ======== =======================================================================
learn2reg       none     from the fixed or the moving map: NaN, left out of the mean (Learn2Reg)
reg-ttr         1e-5     from both: 0 and counted (Reg-TTR, MemWarp; TransMorph's and RDP's fixed
                         label lists likewise)
reg-ttr-organ   1e-7     as reg-ttr (Reg-TTR's table per organ)
corrmlp         2.2e-16  as reg-ttr, over the labels of either map (CorrMLP)
=============== ======== =======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_maps import ranks, values_of

VARIANTS = {
    "learn2reg": 0.0,
    "reg-ttr": 1e-5,
    "reg-ttr-organ": 1e-7,
    "corrmlp": float(np.finfo(np.float64).eps),
}


@dataclass(frozen=True)
class LabelCounts:
    """Voxels of each label: in the fixed map, in the warped map, and at the same place in both.

    Each maps a label of either map (0, the background, among them) to a number of voxels.
    """

    fixed: Mapping[int, int]
    warped: Mapping[int, int]
    both: Mapping[int, int]

    @property
    def labels(self) -> list[int]:
        """The labels of either map in order, without the background 0."""
        return sorted(label for label in self.fixed if label != 0)


def count_labels(fixed: NDArray[Any], warped: NDArray[Any]) -> LabelCounts:
    """Return the voxel counts of all labels of two label maps of one shape, in one pass.

    Raises:
        ValueError: the shapes differ, or a value is not a whole number.
    """
    fixed, warped = np.asarray(fixed), np.asarray(warped)
    if fixed.shape != warped.shape:
        raise ValueError(f"warped: shape {warped.shape} is not the fixed map's {fixed.shape}")
    values = sorted({*values_of(fixed), *values_of(warped)})
    a, b = ranks(fixed, values).ravel(), ranks(warped, values).ravel()
    counts = [np.bincount(part, minlength=len(values) + 1)[1:] for part in (a, b, a[a == b])]
    return LabelCounts(*(dict(zip(values, count.tolist(), strict=True)) for count in counts))


def dice(
    counts: LabelCounts,
    labels: Iterable[int] | None = None,
    *,
    variant: str = "learn2reg",
    moving_labels: Iterable[int] | None = None,
) -> dict[int, float]:
    """Return the Dice coefficient 2|F and W| / (|F| + |W| + constant) of every label.

    Args:
        labels: which labels, in this order; None: all but 0 of the fixed, the warped and (where
            given) the moving map.
        variant: a row of the table above.
        moving_labels: labels of the moving map before the warp, for `learn2reg`; without them only
            a label absent from the fixed map counts as absent.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: one of {', '.join(VARIANTS)}, got {variant!r}")
    moving = None if moving_labels is None else set(moving_labels)
    if labels is None:
        labels = sorted({*counts.labels, *(moving or ())} - {0})
    values: dict[int, float] = {}
    for label in labels:
        fixed, warped = counts.fixed.get(label, 0), counts.warped.get(label, 0)
        absent = fixed == 0 or (moving is not None and label not in moving)
        if variant == "learn2reg" and absent:
            values[label] = math.nan
        elif fixed + warped == 0:
            values[label] = 0.0
        else:
            values[label] = 2 * counts.both[label] / (fixed + warped + VARIANTS[variant])
    return values


def mean(values: Mapping[int, float]) -> float:
    """Return the mean of the values that are not NaN; NaN where none is left."""
    known = [value for value in values.values() if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
