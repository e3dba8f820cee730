"""The metrics that a run reports before and after, as plain JSON values.

Each metric is present if its input is given; None marks an undefined value (a label absent from the
fixed or the moving map, an infinite distance, a constant image).

- dice: Learn2Reg's, with 0 for a label that vanished in the warp; `mean` and one per label.
- dice_absent_zero: the mean with labels absent from both maps as 0 (Reg-TTR's), of the labels of
  the three maps.
- hd95_mm: DeepMind's, `mean` over the labels that have one; assd_mm: of border voxels, the mean.
- vanished_labels: those that vanished in the warp, which the two distances leave out.
- folds_percent: determinants <= 0 (numpy.gradient, all voxels).
- sd_log_jacobian: of ln det J over all voxels; sd_log_jacobian_inside: within the mask, else the
  fixed image's body; det_below_..., det_above_..._percent: voxels beyond that change of volume;
  largest_gradient: of grad u, Frobenius; bending_energy: mean, 1/mm^2 (roughness.py).
- sdlogj: Learn2Reg's metric of that name, of log(det J + 3): about a fifth of sd_log_jacobian.
- largest_mm: the longest displacement; ncc: global; tre_mm: the landmarks' mean, linear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..geometry import DisplacementField, FloatArray, Volume
from . import jacobian, landmarks, roughness
from .label_maps import labels_of
from .overlap import LabelCounts, count_labels, dice, mean
from .per_label import masks
from .similarity import ncc
from .surface import assd, border_distances, hausdorff, surface_distances

Figure = float | None
# changes of volume beyond which voxels are counted
SMALL, LARGE = (0.1, 0.3), (3.0, 10.0)


class Images(NamedTuple):
    """The fixed image, the moving one warped onto it, and where to compare (None: everywhere)."""

    fixed: Volume
    warped: Volume
    mask: Volume | None = None


class Landmarks(NamedTuple):
    """Corresponding points (n, 3) in RAS mm.

    `moved` are the fixed ones mapped exactly, if the mapping is known better than by the field.
    """

    fixed: FloatArray
    moving: FloatArray
    moved: FloatArray | None = None


def report(
    fixed_labels: Volume | None = None,
    warped_labels: Volume | None = None,
    field: DisplacementField | None = None,
    *,
    moving_labels: Volume | Iterable[int] | None = None,
    images: Images | None = None,
    points: Landmarks | None = None,
) -> dict[str, Any]:
    """Return the metrics described above that the given inputs allow.

    Args:
        fixed_labels, warped_labels: label maps on one grid.
        field: the whole mapping on the fixed grid.
        moving_labels: the map before the warp (any grid) or its labels, to tell an absent label
            from a vanished one.
        images: the images to compare, on the same grid.
        points: landmarks; they need the field or their moved positions.

    Raises:
        ValueError: maps or images that belong together differ in shape.
    """
    metrics: dict[str, Any] = {}
    if fixed_labels is not None and warped_labels is not None:
        metrics |= _labels(fixed_labels, warped_labels, _present(moving_labels))
    if field is not None:
        metrics |= _field(field, images)
    if images is not None:
        mask = None if images.mask is None else images.mask.array
        metrics["ncc"] = plain(ncc(images.fixed.array, images.warped.array, mask))
    if points is not None and (field is not None or points.moved is not None):
        found = landmark_errors(points, field)
        metrics["tre_mm"] = plain(float(found.mean())) if len(found) else None
    return metrics


def landmark_errors(points: Landmarks, field: DisplacementField | None) -> FloatArray:
    """Return the distance of each mapped landmark from its counterpart, (n,) in mm."""
    if points.moved is not None:
        return landmarks.distances(points.moved, points.moving)
    if field is None:
        raise ValueError("points: a field, or the points moved, is needed")
    return landmarks.errors(points.fixed, points.moving, field)


def plain(value: float) -> Figure:
    """Return a number that JSON can hold: NaN and infinity become None."""
    return float(value) if math.isfinite(value) else None


def _present(moving_labels: Volume | Iterable[int] | None) -> set[int] | None:
    if moving_labels is None:
        return None
    if isinstance(moving_labels, Volume):
        return set(labels_of(moving_labels.array))
    return {int(label) for label in moving_labels} - {0}


def _labels(fixed: Volume, warped: Volume, moving: set[int] | None) -> dict[str, Any]:
    counts = count_labels(fixed.array, warped.array)
    overlaps = dice(counts, moving_labels=moving)
    judged = [label for label, value in overlaps.items() if not math.isnan(value)]
    vanished = [label for label in judged if not counts.warped.get(label)]
    return {
        "dice": with_mean(overlaps),
        "dice_absent_zero": plain(mean(dice(counts, overlaps, variant="reg-ttr"))),
        **_distances(fixed, warped, [label for label in judged if label not in vanished], counts),
        "vanished_labels": vanished,
    }


def _distances(
    fixed: Volume, warped: Volume, labels: list[int], counts: LabelCounts
) -> dict[str, Any]:
    spacing = fixed.geometry.spacing[::-1]
    robust = {label: math.nan for label in counts.labels}
    average = dict(robust)
    for label, a, b in masks(fixed.array, warped.array, labels):
        robust[label] = hausdorff(surface_distances(a, b, spacing), 95.0)
        average[label] = assd(border_distances(a, b, spacing))
    return {"hd95_mm": with_mean(robust), "assd_mm": plain(mean(average))}


def with_mean(values: Mapping[int, float]) -> dict[str, Figure]:
    """Return one value per label, by its number as text, and their mean as `mean`."""
    return {"mean": plain(mean(values)), **{str(k): plain(v) for k, v in values.items()}}


def _field(field: DisplacementField, images: Images | None) -> dict[str, Any]:
    determinants = jacobian.of_field(field)
    lengths = np.einsum("...c,...c", field.vectors, field.vectors)
    gradient, bending = roughness.gradient_and_bending(field)
    found = {
        "folds_percent": plain(jacobian.folds_percent(determinants)),
        "sd_log_jacobian": plain(roughness.sd_log_jacobian(determinants)),
        **{f"det_below_{x:g}_percent": roughness.below_percent(determinants, x) for x in SMALL},
        **{f"det_above_{x:g}_percent": roughness.above_percent(determinants, x) for x in LARGE},
        "largest_gradient": plain(gradient),
        "bending_energy": plain(bending),
        "sdlogj": plain(jacobian.sdlogj(jacobian.cropped(determinants))),
        "largest_mm": plain(float(np.sqrt(lengths.max()))),
    }
    if images is not None and images.fixed.array.shape == determinants.shape:
        mask = images.mask
        inside = roughness.body(images.fixed.array) if mask is None else mask.array != 0
        found["sd_log_jacobian_inside"] = plain(roughness.sd_log_jacobian(determinants, inside))
    return found
