"""Mutual information with cubic B-spline windows, for images of different modalities.

Mattes 2003 (doi:10.1109/TMI.2003.809072), Thevenaz and Unser 2000 (doi:10.1109/83.887976): every
voxel adds a 4 x 4 patch of B-spline weights to the joint histogram of `bins` x `bins`, which is
then smooth in both images. Voxels are worked on in chunks and nothing per voxel is kept but the
two images, so memory is linear and small.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 1 << 16

Limits = tuple[float, float]


def mutual_information(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None = None,
    *,
    bins: int = 32,
    limits: Limits | None = None,
    normalised: bool = False,
) -> Tensor:
    """Return minus the mutual information of images (N, 1, D, H, W) in nats, a scalar; mean over N.

    Differentiable in both images. With limits None, unchanged by a * image + b for a > 0.

    Args:
        mask: weights 0..1 of the voxels, (N, 1, D, H, W), or None for all.
        bins: of the histogram, per image.
        limits: intensities of the first and the last bin, values beyond them counting there; None:
            each image's own range where the mask is above zero, taken as constant in the gradient.
        normalised: minus Studholme's (H(f) + H(m)) / H(f, m) instead, in [-2, -1].

    Raises:
        ValueError: fewer than 8 bins.
    """
    if bins < 8:
        raise ValueError(f"bins: 8 or more are needed, got {bins}")
    total = fixed.new_zeros(())
    for n in range(fixed.shape[0]):
        weights = None if mask is None else mask[min(n, mask.shape[0] - 1)].to(fixed).reshape(-1)
        positions = [
            _position(image[n].reshape(-1), weights, bins, limits) for image in (fixed, moving)
        ]
        joint = _JointHistogram.apply(positions[0], positions[1], weights, bins)
        total = total - _information(joint / joint.sum().clamp_min(1e-8), normalised)
    return total / fixed.shape[0]


def normalised_mutual_information(
    fixed: Tensor, moving: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return minus Studholme's normalised mutual information; see `mutual_information`."""
    return mutual_information(fixed, moving, mask, normalised=True)


def _position(values: Tensor, weights: Tensor | None, bins: int, limits: Limits | None) -> Tensor:
    """Return places 1..bins-2 on the axis of bins, so that every window lies within it."""
    if limits is None:
        outside = torch.zeros_like(values, dtype=torch.bool) if weights is None else weights <= 0
        low = values.detach().masked_fill(outside, torch.inf).amin()
        high = values.detach().masked_fill(outside, -torch.inf).amax()
    else:
        low, high = (values.new_tensor(v) for v in limits)
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    return 1 + ((values - low) / width).clamp(0, 1) * (bins - 3)


def _information(p: Tensor, normalised: bool) -> Tensor:
    fixed, moving, joint = (_entropy(q) for q in (p.sum(dim=1), p.sum(dim=0), p))
    if normalised:
        return (fixed + moving) / joint.clamp_min(1e-8)
    return fixed + moving - joint


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-20).log()).sum()


class _JointHistogram(torch.autograd.Function):
    """(bins, bins) sums of window products; rows are fixed, columns moving."""

    @staticmethod
    def forward(
        ctx: Any, fixed: Tensor, moving: Tensor, weights: Tensor | None, bins: int
    ) -> Tensor:
        ctx.save_for_backward(fixed, moving, weights)
        ctx.bins = bins
        joint = fixed.new_zeros((bins, bins))
        for part in _chunks(fixed.numel()):
            rows, columns = (_dense(*_windows(x[part], bins), bins) for x in (fixed, moving))
            if weights is not None:
                rows *= weights[part, None]
            joint.addmm_(rows.T, columns)
        return joint

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        fixed, moving, weights = ctx.saved_tensors
        by_joint = grad_outputs[0]
        wanted = ctx.needs_input_grad
        gradients = [torch.empty_like(fixed) if want else None for want in wanted[:2]]
        for part in _chunks(fixed.numel()):
            for gradient, x, other, table in (
                (gradients[0], fixed, moving, by_joint.T),
                (gradients[1], moving, fixed, by_joint),
            ):
                if gradient is None:
                    continue
                seen = _dense(*_windows(other[part], ctx.bins), ctx.bins) @ table
                first, fraction = _place(x[part], ctx.bins)
                slope = (seen.gather(1, _taps(first)) * _slopes(fraction)).sum(dim=1)
                gradient[part] = slope if weights is None else slope * weights[part]
        return gradients[0], gradients[1], None, None


def _chunks(count: int) -> list[slice]:
    return [slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _place(position: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Return the bin before each position (int64) and how far past it the position lies, 0..1."""
    first = position.floor().clamp(1, bins - 3)
    return first.long(), position - first


def _taps(first: Tensor) -> Tensor:
    """Return the four bins (V, 4) that a cubic B-spline reaches."""
    return first[:, None] + torch.arange(-1, 3, device=first.device)


def _windows(position: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Return the four bins (V, 4) of each position and their B-spline weights, which sum to 1."""
    first, f = _place(position, bins)
    g = 1 - f
    inner = (3 * f - 6) * f * f + 4
    inner_mirrored = (3 * g - 6) * g * g + 4
    return _taps(first), torch.stack([g * g * g, inner, inner_mirrored, f * f * f], dim=1) / 6


def _slopes(f: Tensor) -> Tensor:
    """Return the derivatives (V, 4) of the four weights by the position."""
    g = 1 - f
    inner, inner_mirrored = (1.5 * f - 2) * f, (2 - 1.5 * g) * g
    return torch.stack([-0.5 * g * g, inner, inner_mirrored, 0.5 * f * f], dim=1)


def _dense(taps: Tensor, weights: Tensor, bins: int) -> Tensor:
    """Return the weights spread over all bins, (V, bins)."""
    return weights.new_zeros((weights.shape[0], bins)).scatter_(1, taps, weights)
