"""Metrics beyond the standard report, computed on request.

- nsd: normalised surface Dice of every label at a tolerance in mm (DeepMind's surface elements).
- ndv: the non-diffeomorphic volume of the field (Liu et al., IJCV 2024), per cent of its voxels.
- tre: the spread of the landmarks' errors: percentiles, the mean of the worst 30 % (TRE30).
- logjacobian: ln det J of the field: mean, standard deviation and extremes; folds are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..geometry import DisplacementField, FloatArray, Volume
from . import jacobian
from .landmarks import worst_mean
from .ndv import non_diffeomorphic
from .per_label import Absence, Mask, measured_by_label
from .report import plain, with_mean
from .surface import surface_dice, surface_distances

NAMES = ("nsd", "ndv", "tre", "logjacobian")
PERCENTILES = (50, 75, 90, 95, 100)


def nsd(
    fixed: Volume, warped: Volume, labels: Iterable[int], tolerance_mm: float
) -> dict[str, float | None]:
    """Return `mean` and one value per label, 0 to 1; None for a label absent from the fixed map.

    Args:
        fixed, warped: label maps on one grid.
        labels: those that the fixed and the moving map have; one that is missing from the warped
            map counts 0.
    """
    spacing = fixed.geometry.spacing[::-1]

    def measure(a: Mask, b: Mask) -> float:
        return surface_dice(surface_distances(a, b, spacing), tolerance_mm)

    found = measured_by_label(fixed.array, warped.array, labels, measure, Absence())
    return with_mean({k: 0.0 if math.isinf(v) else v for k, v in found.items()})


def ndv(field: DisplacementField) -> dict[str, float | None]:
    """Return the folded volume and the voxels that fold by central differences, in per cent."""
    found = non_diffeomorphic(jacobian.voxel_displacement(field))
    return {
        "ndv_percent": plain(found.volume_percent),
        "folded_voxels_percent": plain(found.voxels_percent),
    }


def tre(errors_mm: ArrayLike) -> dict[str, float | None]:
    """Return the spread of landmark errors (n,) in mm."""
    errors = np.asarray(errors_mm, dtype=np.float64)
    if not errors.size:
        return {}
    values = {f"tre_p{p}_mm": plain(float(np.percentile(errors, p))) for p in PERCENTILES}
    return {**values, "tre30_mm": plain(worst_mean(errors))}


def log_jacobian(field: DisplacementField) -> dict[str, float | None]:
    """Return the mean, standard deviation and extremes of ln det J where nothing folds."""
    determinants: FloatArray = jacobian.of_field(field)
    logs = np.log(determinants[determinants > 0], dtype=np.float64)
    if not logs.size:
        return {}
    values: dict[str, Any] = {"mean": logs.mean(), "sd": logs.std()}
    values |= {"min": logs.min(), "max": logs.max()}
    return {f"logjacobian_{name}": plain(float(value)) for name, value in values.items()}
