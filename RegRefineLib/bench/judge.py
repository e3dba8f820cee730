"""One judge for all tools: metrics of a displacement on the fixed grid.

Labels are resampled once, by nearest neighbour, from the original moving map through the composed
affine part and displacement. Folds and roughness are those of the displacement alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry
from ..io.transforms import read_transform
from ..judgement import single_value
from ..metrics.report import Images, Landmarks, report
from ..resample import resample
from .cases import Case

FIGURES = (
    "dice",
    "hd95_mm",
    "folds_percent",
    "sd_log_jacobian",
    "sd_log_jacobian_inside",
    "det_below_0.1_percent",
    "det_below_0.3_percent",
    "det_above_3_percent",
    "det_above_10_percent",
    "largest_gradient",
    "bending_energy",
    "sdlogj",
    "largest_mm",
    "tre_mm",
)


def read_field(path: Path, grid: Geometry) -> DisplacementField:
    """Return a tool's field.

    Raises:
        RegRefineError: it is not a field, not finite, or not on the fixed image's grid.
    """
    field = read_transform(path)
    if not isinstance(field, DisplacementField) or not field.geometry.same_grid(grid, 0.05):
        raise RegRefineError(f"{path.name}: not a displacement field on the fixed image's grid")
    return DisplacementField(field.vectors, grid)


def zero_field(grid: Geometry) -> DisplacementField:
    """Return the zero displacement, as of a tool that does nothing."""
    return DisplacementField(np.zeros((*grid.shape, 3), np.float32), grid)


def judged(case: Case, field: DisplacementField, matrix: FloatArray) -> dict[str, float | None]:
    """Return FIGURES by name, means over labels; None where one is undefined."""
    whole = composed(field, matrix)
    fixed = case.images()[0]
    found: dict[str, Any] = report(field=field, images=Images(fixed, fixed))
    maps = case.label_maps()
    if maps is not None:
        still, moving = maps
        warped = resample(moving, field.geometry, whole, "nearest")
        found |= report(still, warped, moving_labels=moving)
    points = case.landmarks()
    if points is not None:
        found["tre_mm"] = report(field=whole, points=Landmarks(*points))["tre_mm"]
    return {name: single_value(found.get(name)) for name in FIGURES}


def composed(field: DisplacementField, matrix: FloatArray) -> DisplacementField:
    """Return A(x + u(x)) - x in mm."""
    if np.array_equal(matrix, np.eye(4)):
        return field
    linear = matrix[:3, :3].astype(np.float32)
    affine = DisplacementField.from_affine(matrix, field.geometry).vectors
    return DisplacementField(field.vectors @ linear.T + affine, field.geometry)
