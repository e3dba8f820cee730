"""Smoothness of a displacement: mean absolute or squared forward differences along each axis.

Reg-TTR (released: L1, paper: diffusion), VoxelMorph, FiRework: mean over voxels and components,
then over the three axes. The gradient is written out: autograd would keep nine copies of the field.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Scales = tuple[float, float, float]


def gradient_l1(
    displacement: Tensor, mask: Tensor | None = None, *, scales: Scales = (1.0, 1.0, 1.0)
) -> Tensor:
    """Return the mean |forward difference| of (N, 3, D, H, W) in voxels, over axes; a scalar.

    Args:
        mask: weights 0..1, (N, 1, D, H, W); a difference counts by the product of its two voxels'.
        scales: factors of the differences along the three axes; 1 / spacing makes voxels cubes.
    """
    return _Smoothness.apply(displacement, mask, 1, scales)


def gradient_l2(
    displacement: Tensor, mask: Tensor | None = None, *, scales: Scales = (1.0, 1.0, 1.0)
) -> Tensor:
    """Return the mean squared forward difference (diffusion) over axes; see `gradient_l1`."""
    return _Smoothness.apply(displacement, mask, 2, scales)


class _Smoothness(torch.autograd.Function):
    """Value and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any, displacement: Tensor, mask: Tensor | None, power: int, scales: Scales
    ) -> Tensor:
        u = displacement.detach()
        gradient = torch.zeros_like(u) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=u.dtype, device=u.device)
        for axis, scale in zip((2, 3, 4), scales, strict=True):
            n = u.shape[axis]
            if n < 2:
                continue
            step = u.narrow(axis, 1, n - 1) - u.narrow(axis, 0, n - 1)
            if scale != 1:
                step.mul_(scale)
            slope = step.sign() if power == 1 else step * 2
            share = 1 / (3 * step.numel())
            if mask is not None:
                weights = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
                slope.mul_(weights)
                share = 1 / max(3 * float(weights.expand_as(step).sum()), 1e-8)
            total += torch.dot(step.flatten(), slope.flatten()) * (share / power)
            if gradient is not None:
                gradient.narrow(axis, 1, n - 1).add_(slope, alpha=share * scale)
                gradient.narrow(axis, 0, n - 1).sub_(slope, alpha=share * scale)
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        return grad_outputs[0] * ctx.gradient, None, None, None
