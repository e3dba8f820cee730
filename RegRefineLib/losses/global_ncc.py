"""Global normalised cross correlation, as in ICON: one correlation coefficient per image."""

from __future__ import annotations

import torch
from torch import Tensor


def global_ncc(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return 1 - the correlation coefficient of images (N, C, D, H, W), a scalar in [0, 2].

    The mean over images and channels. Unchanged by a * image + b for a > 0; a constant image
    correlates with nothing (loss 1).

    Args:
        mask: weights 0..1 of the voxels, (N, 1, D, H, W), or None for all.
    """
    weights = torch.ones_like(fixed[:, :1]) if mask is None else mask.to(fixed)
    axes = (2, 3, 4)
    weights = weights / weights.sum(dim=axes, keepdim=True).clamp_min(1e-8)

    def mean(values: Tensor) -> Tensor:
        return (values * weights).sum(dim=axes, keepdim=True)

    a, b = fixed - mean(fixed), moving - mean(moving)
    tiny = torch.finfo(fixed.dtype).tiny
    spread = (mean(a * a) * mean(b * b)).clamp_min(tiny).sqrt()
    return 1 - (mean(a * b) / spread).mean()
