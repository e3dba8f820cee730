"""MIND-SSC loss: the mean squared difference of self-similarities, across modalities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..ops.mind import features
from .masked import masked_mean


def mind(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None = None,
    *,
    radius: int = 2,
    dilation: int = 2,
) -> Tensor:
    """Return the mean squared difference of the MIND-SSC of images (N, 1, D, H, W), a scalar.

    Unchanged by a * image + b, a other than 0, of either image. The defaults are uniGradICON's.

    Args:
        mask: weights 0..1 of the voxels in the mean, (N, 1, D, H, W), or None for all; features
            near its border still depend on voxels up to dilation + radius beyond it.
        radius, dilation: of the features, in voxels (see ops/mind.py).
    """
    a, b = (features(image, radius, dilation, mask) for image in (fixed, moving))
    if mask is None:
        return F.mse_loss(b, a)
    return masked_mean((a - b).square(), mask)
