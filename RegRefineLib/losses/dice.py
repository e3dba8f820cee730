"""Soft Dice of label maps, for any number of labels: no one-hot volume is ever made.

    dice_k = (2 |F_k M_k| + smooth) / (|F_k| + |M_k| + smooth),   loss = 1 - mean over k

Sums over a label are scatter-adds by the label map, per plane first (quick where thousands of
threads add) and in float64. `warped_dice_loss` equals warping a one-hot volume linearly,
at the cost of eight look-ups per voxel instead of one warp per label.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

CORNERS = tuple(product((0, 1), repeat=3))


def soft_dice_loss(
    fixed_labels: Tensor,
    probabilities: Tensor,
    mask: Tensor | None = None,
    *,
    squared: bool = False,
    smooth: float = 0.0,
    background: bool = False,
) -> Tensor:
    """Return 1 - the mean soft Dice of labels and probabilities, a scalar; differentiable in these.

    Args:
        fixed_labels: (N, 1, D, H, W), whole numbers 0..C-1.
        probabilities: (N, C, D, H, W), channel k for label k.
        mask: weights 0..1 of the voxels, (N, 1, D, H, W), or None for all.
        squared: |M_k| as the sum of squares of the probabilities (V-Net, Milletari 2016).
        smooth: added to numerator and denominator: a label absent from both maps then has a Dice of
            1 instead of 0.
        background: whether label 0 counts.
    """
    labels = fixed_labels.long()
    weights = torch.ones_like(probabilities[:, :1]) if mask is None else mask.to(probabilities)
    weights = weights.expand(labels.shape)
    count = probabilities.shape[1]
    common = _sum_by_label(labels, probabilities.gather(1, labels) * weights, count)
    size_fixed = _sum_by_label(labels, weights, count)
    powers = probabilities.square() if squared else probabilities
    size_moving = (powers * weights).sum(dim=(2, 3, 4))
    return _loss(common, size_fixed, size_moving, smooth, background)


def warped_dice_loss(
    fixed_labels: Tensor,
    moving_labels: Tensor,
    displacement: Tensor,
    mask: Tensor | None = None,
    *,
    count: int | None = None,
    smooth: float = 0.0,
) -> Tensor:
    """Return 1 - the mean soft Dice of the displaced labels, a scalar; label 0 is left out.

    Equals `soft_dice_loss` of the moving one-hot volume warped linearly with zeros outside;
    differentiable in the displacement. Labels absent from both maps count as 0 unless `smooth`.

    Args:
        fixed_labels, moving_labels: (N, 1, D, H, W), whole numbers 0..count-1.
        displacement: (N, 3, D, H, W) in voxels.
        mask: weights 0..1 of the fixed voxels, (N, 1, D, H, W), or None for all.
        count: number of labels, background included; None: one more than the largest label.
    """
    if count is None:
        count = int(max(fixed_labels.max(), moving_labels.max())) + 1
    fixed, moving = fixed_labels.long(), moving_labels.long()
    weights = torch.ones_like(displacement[:, :1]) if mask is None else mask.to(displacement)
    weights = weights.expand(fixed.shape)
    common, size_moving = _Overlap.apply(displacement, fixed, moving, weights, count)
    size_fixed = _sum_by_label(fixed, weights, count)
    return _loss(common, size_fixed, size_moving, smooth, False)


def _loss(
    common: Tensor, size_fixed: Tensor, size_moving: Tensor, smooth: float, background: bool
) -> Tensor:
    """Return 1 - the mean over images and labels of sums (N, K)."""
    total = (size_fixed + size_moving + smooth).clamp_min(1e-5)
    dice = (2 * common + smooth) / total
    return 1 - (dice if background else dice[:, 1:]).mean()


def _sum_by_label(labels: Tensor, values: Tensor, count: int) -> Tensor:
    """Return the sums (N, count) of values (N, 1, D, H, W) over each label."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64  # it has no other
    sums = torch.zeros((*labels.shape[:3], count), dtype=wide, device=values.device)
    sums = sums.scatter_add(3, labels.flatten(3), values.flatten(3).to(wide)).sum(dim=(1, 2))
    return sums.to(values)


class _Overlap(torch.autograd.Function):
    """Sums (N, count) of the linearly warped moving labels: within the fixed label, and in all.

    Each voxel's position lies between eight moving voxels; each of these gives its label the share
    that linear interpolation gives it.
    """

    @staticmethod
    def forward(
        ctx: Any, displacement: Tensor, fixed: Tensor, moving: Tensor, weights: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(displacement, fixed, moving, weights)
        common = displacement.new_zeros((fixed.shape[0], count))
        size = torch.zeros_like(common)
        for label, shares in _corners(displacement, moving):
            share = shares[0] * shares[1] * shares[2] * weights
            size += _sum_by_label(label, share, count)
            common += _sum_by_label(fixed, share * (label == fixed), count)
        return common, size

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        displacement, fixed, moving, weights = ctx.saved_tensors
        by_common, by_size = (g[:, :, None, None, None] for g in grad_outputs)
        gradient = torch.zeros_like(displacement)
        by_common = _look_up(by_common, fixed) * weights
        for corner, (label, shares) in zip(CORNERS, _corners(displacement, moving), strict=True):
            value = _look_up(by_size, label).mul_(weights).add_(by_common * (label == fixed))
            for axis, far in enumerate(corner):  # the far share grows as the position moves on
                others = shares[(axis + 1) % 3] * shares[(axis + 2) % 3]
                gradient[:, axis : axis + 1].add_(others.mul_(value), alpha=2 * far - 1)
        return gradient, None, None, None, None


def _corners(displacement: Tensor, moving: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield each corner's label and its shares along the three axes, all (N, 1, D, H, W).

    Corners outside carry label 0, whose dice does not count.
    """
    sides: list[list[tuple[Tensor, Tensor]]] = []
    for axis in range(3):
        along = [-1 if a == axis + 2 else 1 for a in range(5)]
        voxels = torch.arange(displacement.shape[axis + 2], device=displacement.device)
        position = displacement[:, axis : axis + 1] + voxels.view(along)
        first = position.floor()
        past = position - first
        sides.append([(first.long(), 1 - past), (first.long() + 1, past)])
    values = moving.flatten(1)
    for corner in CORNERS:
        index = torch.zeros_like(sides[0][0][0])
        inside = torch.ones_like(index, dtype=torch.bool)
        for axis, far in enumerate(corner):
            n, place = moving.shape[axis + 2], sides[axis][far][0]
            inside = inside & (place >= 0) & (place < n)
            index = index * n + place.clamp(0, n - 1)
        label = values.gather(1, index.flatten(1)).view(index.shape) * inside
        yield label, [sides[axis][far][1] for axis, far in enumerate(corner)]


def _look_up(table: Tensor, labels: Tensor) -> Tensor:
    """Return table (N, count, 1, 1, 1) at labels (N, 1, D, H, W)."""
    flat = table.flatten(1).gather(1, labels.flatten(1))
    return flat.view(labels.shape)
