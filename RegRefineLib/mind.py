"""MIND-SSC: twelve self-similarities per voxel, comparable across modalities.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
self-similarities" (MICCAI 2013), as ConvexAdam and ICON compute it. For each of the twelve pairs
(p, q) of neighbours at distance `dilation` whose difference has squared length 2 dilation^2,

    d = mean over a (2 radius + 1)^3 box of (I(x + p) - I(x + q))^2,   feature = exp(-(d - min d) / v)

with v = the mean of d - min d over the twelve, held within [0.001, 1000] times its image mean. Both
programs order the channels as `PAIRS` does. Edges continue: voxels outside repeat the nearest.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Offset = tuple[int, int, int]

# Directions (0, 1, 2) are array axes; each channel compares two neighbours.
PAIRS: tuple[tuple[Offset, Offset], ...] = (
    ((1, 0, 0), (0, -1, 0)),
    ((-1, 0, 0), (0, 1, 0)),
    ((-1, 0, 0), (0, -1, 0)),
    ((1, 0, 0), (0, 1, 0)),
    ((0, -1, 0), (0, 0, -1)),
    ((0, 1, 0), (0, 0, 1)),
    ((-1, 0, 0), (0, 0, -1)),
    ((1, 0, 0), (0, 0, 1)),
    ((0, 1, 0), (0, 0, -1)),
    ((0, -1, 0), (0, 0, 1)),
    ((1, 0, 0), (0, 0, -1)),
    ((-1, 0, 0), (0, 0, 1)),
)


def features(
    image: Tensor, radius: int = 1, dilation: int = 2, mask: Tensor | None = None
) -> Tensor:
    """Return MIND-SSC of `image` (N, 1, D, H, W): (N, 12, D, H, W) in (0, 1].

    Unchanged by a * image + b for a > 0. Differentiable; the twelve intermediate maps are computed
    again in the backward pass instead of being kept.

    Args:
        radius: of the box, in voxels.
        dilation: distance of the compared neighbours, in voxels.
        mask: weights (N, 1, D, H, W) of the voxels whose mean bounds v, or None for all.

    Raises:
        ValueError: not one channel, or radius or dilation below 1.
    """
    if image.dim() != 5 or image.shape[1] != 1:
        raise ValueError(f"image: (N, 1, D, H, W) is needed, got {tuple(image.shape)}")
    if radius < 1 or dilation < 1:
        raise ValueError(f"radius, dilation: 1 or more, got {radius} and {dilation}")
    distances = _Distances.apply(image, radius, dilation)
    least = distances.amin(dim=1, keepdim=True)
    if distances.requires_grad:
        distances = distances - least
    else:
        distances.sub_(least)
    variance = distances.mean(dim=1, keepdim=True)
    level = _level(variance.detach(), mask)
    tiny = torch.finfo(variance.dtype).tiny  # a flat image has no variance anywhere
    variance = variance.clamp(1e-3 * level, 1e3 * level).clamp_min(tiny)
    if distances.requires_grad:
        return torch.exp(-distances / variance)
    return distances.div_(variance).neg_().exp_()


def _level(variance: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over each image (N, 1, 1, 1, 1)."""
    axes = (1, 2, 3, 4)
    if mask is None:
        return variance.mean(dim=axes, keepdim=True)
    total = mask.sum(dim=axes, keepdim=True).clamp_min(1e-8)
    return (variance * mask).sum(dim=axes, keepdim=True) / total


def _distance(image: Tensor, pair: tuple[Offset, Offset], radius: int, dilation: int) -> Tensor:
    """Return one pair's mean squared difference (N, 1, D, H, W)."""
    padded = F.pad(image, [dilation] * 6, mode="replicate")
    first, second = (_shifted(padded, offset, dilation) for offset in pair)
    return _box_mean((first - second).square(), radius)


def _shifted(padded: Tensor, offset: Offset, dilation: int) -> Tensor:
    """Return the view I(x + dilation * offset) of an image padded by `dilation`."""
    for axis, step in zip((2, 3, 4), offset, strict=True):
        padded = padded.narrow(axis, dilation * (1 + step), padded.shape[axis] - 2 * dilation)
    return padded


def _box_mean(x: Tensor, radius: int) -> Tensor:
    """Return box means (N, 1, D, H, W), edges continued: narrow windows are quickest as shifts."""
    for axis, place in ((4, 0), (3, 2), (2, 4)):
        ends = [0] * 6
        ends[place] = ends[place + 1] = radius
        n = x.shape[axis]
        padded = F.pad(x, ends, mode="replicate")
        x = padded.narrow(axis, 0, n) + padded.narrow(axis, 1, n)
        for offset in range(2, 2 * radius + 1):
            x += padded.narrow(axis, offset, n)
    return x / (2 * radius + 1) ** 3


class _Distances(torch.autograd.Function):
    """The twelve distances (N, 12, D, H, W); backward goes through one of them at a time."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int, dilation: int) -> Tensor:
        ctx.save_for_backward(image)
        ctx.window = (radius, dilation)
        out = image.new_empty((image.shape[0], len(PAIRS), *image.shape[2:]))
        for channel, pair in enumerate(PAIRS):
            out[:, channel : channel + 1] = _distance(image, pair, radius, dilation)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (image,) = ctx.saved_tensors
        image = image.detach().requires_grad_()
        total = torch.zeros_like(image)
        for channel, pair in enumerate(PAIRS):
            with torch.enable_grad():
                distance = _distance(image, pair, *ctx.window)
            (part,) = torch.autograd.grad(
                distance, image, grad_outputs[0][:, channel : channel + 1]
            )
            total += part
        return total, None, None
