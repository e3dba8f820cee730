"""Fields on as few voxels and digits as an error bound allows: a tenth of the bytes, or less.

A field is smooth, so a coarser grid of the same outermost voxel centres holds it; and its float32
values are rounded to a power of two of a millimetre, whose zeros compress. Every program reads the
result as any displacement field. What it lost is measured on the whole fixed grid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry import DisplacementField, Geometry, Volume
from ..io.transforms import write_field
from ..resample import resample

FACTORS = (6, 4, 3, 2)


def compact(field: DisplacementField, bound_mm: float) -> tuple[DisplacementField, float]:
    """Return the field on the coarsest grid that keeps within the bound, and its largest error.

    Args:
        bound_mm: the largest distance that a point may be moved elsewhere; where no coarser grid
            keeps it, the field's own grid and rounding that does.
    """
    step = 2.0 ** np.floor(np.log2(bound_mm / 4))  # rounding costs at most bound/8 per component
    for factor in FACTORS:
        grid = thinned(field.geometry, factor)
        if grid.shape == field.geometry.shape:
            continue
        coarse = DisplacementField(rounded(sampled(field, grid).vectors, step), grid)
        error = distance(field, sampled(coarse, field.geometry))
        if error <= bound_mm:
            return coarse, error
    same = DisplacementField(rounded(field.vectors, step), field.geometry)
    return same, distance(field, same)


def thinned(grid: Geometry, factor: int) -> Geometry:
    """Return a grid of about 1/factor of the voxels along each axis, with the same end centres."""
    shape = tuple(n if n < 4 else max(2, -(-(n - 1) // factor) + 1) for n in grid.shape)
    steps = [(n - 1) / max(m - 1, 1) for n, m in zip(grid.shape, shape, strict=True)]
    affine = grid.affine.copy()
    affine[:3, :3] *= [step if step > 0 else 1.0 for step in steps[::-1]]
    return Geometry(shape, affine)  # type: ignore[arg-type]


def sampled(field: DisplacementField, grid: Geometry) -> DisplacementField:
    """Return the field at another grid's voxel centres, linearly."""
    parts = [
        resample(Volume(np.ascontiguousarray(field.vectors[..., c]), field.geometry), grid).array
        for c in range(3)
    ]
    return DisplacementField(np.stack(parts, axis=-1), grid)


def rounded(vectors: np.ndarray, step_mm: float) -> np.ndarray:
    """Return float32 vectors in whole multiples of a step."""
    return (np.rint(vectors / step_mm) * step_mm).astype(np.float32)


def distance(one: DisplacementField, other: DisplacementField) -> float:
    """Return the largest distance in mm between two fields on one grid."""
    return float(np.linalg.norm(one.vectors - other.vectors, axis=-1).max())


def write_compact(field: DisplacementField, path: Path) -> None:
    """Write a field to a compressed .nrrd that Slicer and ITK read as a displacement field."""
    write_field(field, path)
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image, str(path), useCompression=True)
