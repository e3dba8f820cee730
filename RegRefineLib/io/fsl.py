"""FSL's coordinates and FLIRT's matrices.

FSL counts in mm from the first voxel along the voxel axes, the first axis backwards where the
image's axes are right-handed in RAS; a FLIRT matrix takes such points of the input (moving) image
to those of the reference (fixed) image. Source: https://fsl.fmrib.ox.ac.uk/fsl/docs (FLIRT FAQ).
"""

from __future__ import annotations

import numpy as np

from ..geometry import FloatArray, Geometry


def fsl_from_voxels(grid: Geometry) -> FloatArray:
    """Return the 4x4 voxel (i, j, k) -> FSL's mm of an image."""
    matrix = np.diag([*grid.spacing, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        matrix[0, 0] = -grid.spacing[0]
        matrix[0, 3] = (grid.shape[2] - 1) * grid.spacing[0]
    return matrix


def from_flirt(matrix: FloatArray, fixed: Geometry, moving: Geometry) -> FloatArray:
    """Return the 4x4 fixed RAS mm -> moving RAS mm of a FLIRT matrix."""
    back = np.linalg.inv(matrix)
    to_fsl = fsl_from_voxels(fixed) @ fixed.inverse_affine
    result: FloatArray = moving.affine @ np.linalg.inv(fsl_from_voxels(moving)) @ back @ to_fsl
    return result


def to_flirt(matrix: FloatArray, fixed: Geometry, moving: Geometry) -> FloatArray:
    """Return the FLIRT matrix of a 4x4 fixed RAS mm -> moving RAS mm."""
    to_ras = fixed.affine @ np.linalg.inv(fsl_from_voxels(fixed))
    forward = fsl_from_voxels(moving) @ moving.inverse_affine @ matrix @ to_ras
    result: FloatArray = np.linalg.inv(forward)
    return result
