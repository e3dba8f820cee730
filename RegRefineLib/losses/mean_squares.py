"""Mean squared intensity difference: for images of one modality, scaled alike."""

from __future__ import annotations

from torch import Tensor

from .masked import masked_mean


def mean_squares(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of (fixed - moving)^2 of images (N, C, D, H, W), a scalar.

    Args:
        mask: weights 0..1 of the voxels, (N, 1, D, H, W), or None for all.
    """
    return masked_mean((fixed - moving).square(), mask)
