"""The mean of affine maps in the log-Euclidean sense, and what of it is shape.

The mean of matrices by their parameters depends on the frame and shrinks turns; that of their
logarithms does not (Arsigny et al. 2009, "A fast and log-Euclidean polyaffine framework for locally
linear registration").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import expm, logm

from ..errors import RegRefineError
from ..geometry import FloatArray


def mean_affine(matrices: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Return exp of the weighted mean of the logarithms of 4x4 matrices.

    Raises:
        RegRefineError: a matrix mirrors or is too close to a half turn to have a real logarithm.
    """
    total = np.zeros((4, 4))
    for matrix, weight in zip(matrices, weights, strict=True):
        logarithm = logm(np.asarray(matrix, dtype=float))
        if np.abs(np.imag(logarithm)).max() > 1e-6 or not np.isfinite(logarithm).all():
            raise RegRefineError(
                "the mean of the linear parts does not exist: one mirrors or turns by 180 degrees; "
                "look at the runs and give that scan an `initial` transform"
            )
        total += weight * np.real(logarithm)
    return np.asarray(expm(total / sum(weights)))


def without_rigid(matrix: FloatArray, centre: FloatArray) -> FloatArray:
    """Return the stretch of a 4x4 about a centre: what is left without its turn and its shift.

    Turns and shifts of the mean are no shape: kept, they let the template drift out of its field
    of view. The linear part is R S with S symmetric (polar decomposition); S stays.
    """
    linear = np.asarray(matrix, dtype=float)[:3, :3]
    values, vectors = np.linalg.eigh(linear.T @ linear)
    stretch = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    result = np.eye(4)
    result[:3, :3] = stretch
    result[:3, 3] = centre - stretch @ centre
    return result
