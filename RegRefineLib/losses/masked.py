"""Means weighted by a mask."""

from __future__ import annotations

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of `values` (N, C, D, H, W), a scalar, weighted by the mask.

    Args:
        mask: weights 0..1, (N, 1, D, H, W) or (1, 1, D, H, W), the same for all channels. Where
            all weights are zero the mean is zero.
    """
    if mask is None:
        return values.mean()
    weights = mask.to(values).expand(values.shape[0], 1, *values.shape[2:])
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1e-8)
