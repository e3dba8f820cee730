"""Bending energy (Rueckert 1999, doi:10.1109/42.796284): the curvature of a displacement.

Zero for every affine displacement, unlike the first-order penalties of smoothness.py.
"""

from __future__ import annotations

from torch import Tensor

from .masked import masked_mean


def bending_energy(displacement: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared second derivative of (N, 3, D, H, W), a scalar, in 1/voxel^2.

    The mean over voxels and components of the sum of the nine squared second derivatives, by
    u(x-1) - 2 u(x) + u(x+1) along an axis and u(x+1,y+1) - u(x+1,y) - u(x,y+1) + u(x,y) across two.
    Voxels are taken as cubes.

    Args:
        mask: weights 0..1, (N, 1, D, H, W). A difference counts by the product of the weights of
            all its voxels.
    """
    total = displacement.new_zeros(())
    for first in (2, 3, 4):
        for second in range(first, 5):
            if min(displacement.shape[first], displacement.shape[second]) < (2 + (first == second)):
                continue  # too thin to curve
            derivative = displacement.diff(dim=first).diff(dim=second)
            factor = 1.0 if first == second else 2.0
            weights = None if mask is None else _overlap(_overlap(mask, first), second)
            total = total + factor * masked_mean(derivative.square(), weights)
    return total


def _overlap(weights: Tensor, axis: int) -> Tensor:
    """Return the product of neighbours' weights along an axis, one shorter."""
    n = weights.shape[axis] - 1
    return weights.narrow(axis, 0, n) * weights.narrow(axis, 1, n)
