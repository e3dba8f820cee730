"""Smoothness of a displacement: the mean absolute or squared forward difference along each axis.

Reg-TTR (released: L1, paper: diffusion), VoxelMorph, FiRework: mean over voxels and components,
then over the three axes. The gradient is written out: autograd would keep nine copies of the field.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gradient_l1(displacement: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean |forward difference| of (N, 3, D, H, W) in voxels, over axes; a scalar."""
    return _Smoothness.apply(displacement, mask, 1)


def gradient_l2(displacement: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared forward difference of (N, 3, D, H, W) in voxels, over axes."""
    return _Smoothness.apply(displacement, mask, 2)


class _Smoothness(torch.autograd.Function):
    """Value and gradient in one pass; a difference counts where both its voxels lie in the mask."""

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, mask: Tensor | None, power: int) -> Tensor:
        u = displacement.detach()
        wanted = ctx.needs_input_grad[0]
        gradient = torch.zeros_like(u) if wanted else None
        total = torch.zeros((), dtype=u.dtype, device=u.device)
        for axis in (2, 3, 4):
            n = u.shape[axis]
            if n < 2:
                continue
            step = u.narrow(axis, 1, n - 1) - u.narrow(axis, 0, n - 1)
            count: Any = step.numel()
            if mask is not None:
                both = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
                step.mul_(both)
                count = (both.sum() * (u.shape[0] * 3 / mask.shape[0])).clamp_min(1)
            total += (step.abs().sum() if power == 1 else step.square().sum()) / (3 * count)
            if gradient is not None:
                slope = step.sign_() if power == 1 else step.mul_(2)
                slope.div_(3 * count)
                gradient.narrow(axis, 1, n - 1).add_(slope)
                gradient.narrow(axis, 0, n - 1).sub_(slope)
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return grad_outputs[0] * ctx.gradient, None, None
