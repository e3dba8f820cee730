"""Surface metrics of every label of a pair of label maps, each inside its own bounding box.

A label absent from the fixed map (or from the moving map, if its labels are given) is NaN. A label
of both maps that vanishes in the warped one is a failure of the warp; published programs disagree
on its value:

- `infinite`: the distance is infinite (Learn2Reg, where the mean is then infinite too);
- `missing`: NaN, left out of the mean, which makes the mean look better than it is;
- `unwarped`: the moving label before the warp stands in for it (Reg-TTR).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .label_maps import ranks
from .surface import Mask, hausdorff, surface_distances

VANISHED = ("infinite", "missing", "unwarped")
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Absence:
    """How to treat labels that are not in every map.

    Attributes:
        vanished: the rule for a label that only the warped map lacks, by name.
        moving_labels: the labels of the moving map, or None where they are not known.
        unwarped: the moving label map on the fixed grid, for the rule of that name.
    """

    vanished: str = "infinite"
    moving_labels: frozenset[int] | None = None
    unwarped: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.vanished not in VANISHED:
            raise ValueError(f"vanished: one of {', '.join(VANISHED)}, got {self.vanished!r}")
        if self.vanished == "unwarped" and self.unwarped is None:
            raise ValueError("unwarped: this rule needs the moving label map before the warp")


def boxes(array: NDArray[Any], labels: Iterable[int]) -> dict[int, Box]:
    """Return the bounding box of each label that the map holds, all in one pass."""
    wanted = sorted(set(labels))
    found = ndimage.find_objects(ranks(array, wanted), max_label=len(wanted))
    return {label: box for label, box in zip(wanted, found, strict=True) if box is not None}


def masks(
    fixed: NDArray[Any], warped: NDArray[Any], labels: Iterable[int]
) -> Iterator[tuple[int, Mask, Mask]]:
    """Yield (label, fixed mask, warped mask), cut to the box that holds both; empty ones too."""
    labels = list(labels)
    fixed_boxes, warped_boxes = boxes(fixed, labels), boxes(warped, labels)
    for label in labels:
        there = [b[label] for b in (fixed_boxes, warped_boxes) if label in b]
        box = _around(there)
        yield label, fixed[box] == label, warped[box] == label


def _around(parts: list[Box]) -> Box:
    if not parts:
        return (slice(0, 0), slice(0, 0), slice(0, 0))
    sides = zip(*parts, strict=True)
    k, j, i = (slice(min(s.start for s in d), max(s.stop for s in d)) for d in sides)
    return k, j, i


def measured_by_label(
    fixed: NDArray[Any],
    warped: NDArray[Any],
    labels: Iterable[int],
    measure: Callable[[Mask, Mask], float],
    absence: Absence | None = None,
) -> dict[int, float]:
    """Return measure(fixed mask, warped mask) of every label, absent and vanished ones by rule."""
    absence = absence or Absence()
    values: dict[int, float] = {}
    vanished: list[int] = []
    for label, fixed_mask, warped_mask in masks(fixed, warped, labels):
        unknown = absence.moving_labels is not None and label not in absence.moving_labels
        if unknown or not fixed_mask.any():
            values[label] = math.nan
        elif warped_mask.any():
            values[label] = measure(fixed_mask, warped_mask)
        else:
            values[label] = math.nan if absence.vanished == "missing" else math.inf
            vanished.append(label)
    if absence.vanished == "unwarped" and absence.unwarped is not None:
        for label, fixed_mask, moving_mask in masks(fixed, absence.unwarped, vanished):
            values[label] = measure(fixed_mask, moving_mask) if moving_mask.any() else math.nan
    return values


def hd95(
    fixed: NDArray[Any],
    warped: NDArray[Any],
    labels: Iterable[int],
    spacing: ArrayLike,
    absence: Absence | None = None,
) -> dict[int, float]:
    """Return DeepMind's HD95 in mm of every label; spacing in mm in array order."""

    def measure(a: Mask, b: Mask) -> float:
        return hausdorff(surface_distances(a, b, spacing))

    return measured_by_label(fixed, warped, labels, measure, absence)
