"""MIND-SSC: twelve self-similarities per voxel, comparable across modalities.

Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
self-similarities" (MICCAI 2013), as ConvexAdam and ICON compute it. For each of the twelve pairs
(p, q) of neighbours at distance `dilation` whose difference has squared length 2 dilation^2,

    d = mean over a (2 radius + 1)^3 box of (I(x + p) - I(x + q))^2
    feature = exp(-(d - min d) / v)

with v = the mean of d - min d over the twelve, held within [0.001, 1000] times its image mean. Both
programs order the channels as `PAIRS` does. Edges continue: voxels outside repeat the nearest.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Offset = tuple[int, int, int]
AXES = (2, 3, 4)

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

    Unchanged by a * image + b for a other than 0. Differentiable, once.

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
    return _Features.apply(image, radius, dilation, mask)


class _Features(torch.autograd.Function):
    """Features and their gradient, written out: autograd would keep some fifty volumes."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int, dilation: int, mask: Tensor | None) -> Tensor:
        channels = _distances(image, radius, dilation)
        least, smallest = channels.min(dim=1, keepdim=True)
        mean = channels.sub_(least).mean(dim=1, keepdim=True)
        level = _level(mean, mask)
        tiny = torch.finfo(mean.dtype).tiny  # a flat image varies nowhere
        variance = mean.clamp(1e-3 * level, 1e3 * level).clamp_min_(tiny)
        channels.div_(variance).neg_().exp_()
        if ctx.needs_input_grad[0]:
            ctx.window = (radius, dilation)
            ctx.save_for_backward(
                image, channels, variance, variance == mean, smallest.to(torch.uint8)
            )
        return channels

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        image, channels, variance, free, smallest = ctx.saved_tensors
        by_feature = grad_outputs[0]
        by_variance = torch.zeros_like(variance)
        for y, g in zip(channels.unbind(1), by_feature.unbind(1), strict=True):
            by_variance[:, 0].sub_(torch.xlogy(y, y).mul_(g))  # y log y = -y (d - min d) / v
        by_variance.div_(variance).mul_(free).div_(len(PAIRS))
        by_distance = torch.empty_like(channels)
        total = torch.zeros_like(variance)
        for channel in range(len(PAIRS)):
            one = slice(channel, channel + 1)
            slope = (by_feature[:, one] * channels[:, one]).div_(variance).neg_().add_(by_variance)
            by_distance[:, one] = slope
            total.add_(slope)
        by_distance.scatter_add_(1, smallest.long(), total.neg_())
        return _distances_adjoint(image, by_distance, *ctx.window), None, None, None


def _level(variance: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over each image (N, 1, 1, 1, 1)."""
    axes = (1, 2, 3, 4)
    if mask is None:
        return variance.mean(dim=axes, keepdim=True)
    total = mask.sum(dim=axes, keepdim=True).clamp_min(1e-8)
    return (variance * mask).sum(dim=axes, keepdim=True) / total


def _distances(image: Tensor, radius: int, dilation: int) -> Tensor:
    """Return the twelve distances d, (N, 12, D, H, W)."""
    padded = F.pad(image, [dilation] * 6, mode="replicate")
    out = image.new_empty((image.shape[0], len(PAIRS), *image.shape[2:]))
    for channel, pair in enumerate(PAIRS):
        squares = _difference(padded, pair, dilation).square_()
        out[:, channel : channel + 1] = _box_sum(squares, radius)
    return out.div_((2 * radius + 1) ** 3)


def _distances_adjoint(image: Tensor, by_distance: Tensor, radius: int, dilation: int) -> Tensor:
    """Return the gradient by the image, of its shape, given that by the distances."""
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        padded = F.pad(leaf, [dilation] * 6, mode="replicate")
    gradient = torch.zeros_like(padded)
    for channel, pair in enumerate(PAIRS):
        by_square = _box_sum(by_distance[:, channel : channel + 1], radius, adjoint=True)
        slope = by_square.mul_(_difference(padded.detach(), pair, dilation))
        _shifted(gradient, pair[0], dilation).add_(slope)
        _shifted(gradient, pair[1], dilation).sub_(slope)
    gradient.mul_(2 / (2 * radius + 1) ** 3)
    (result,) = torch.autograd.grad(padded, leaf, gradient)
    return result


def _difference(padded: Tensor, pair: tuple[Offset, Offset], dilation: int) -> Tensor:
    """Return I(x + p) - I(x + q) (N, 1, D, H, W) of an image padded by `dilation`."""
    return _shifted(padded, pair[0], dilation) - _shifted(padded, pair[1], dilation)


def _shifted(padded: Tensor, offset: Offset, dilation: int) -> Tensor:
    """Return the view I(x + dilation * offset) of an image padded by `dilation`."""
    for axis, step in zip(AXES, offset, strict=True):
        padded = padded.narrow(axis, dilation * (1 + step), padded.shape[axis] - 2 * dilation)
    return padded


def _box_sum(x: Tensor, radius: int, *, adjoint: bool = False) -> Tensor:
    """Return box sums of (N, 1, D, H, W), edges continued: narrow windows are quickest as shifts.

    Along an axis the first voxel stands in radius - i times for those missing before voxel i, and
    the last one likewise; in the adjoint it receives what they would have.
    """
    for axis in AXES:
        n = x.shape[axis]
        total = x.clone()
        for step in range(1, min(radius, n - 1) + 1):
            total.narrow(axis, step, n - step).add_(x.narrow(axis, 0, n - step))
            total.narrow(axis, 0, n - step).add_(x.narrow(axis, step, n - step))
        rim = min(radius, n)
        missing = torch.arange(radius, radius - rim, -1, dtype=x.dtype, device=x.device)
        missing = missing.view([-1 if a == axis else 1 for a in range(5)])
        for first, start, weights in ((0, 0, missing), (n - 1, n - rim, missing.flip(axis))):
            one, several = (first, 1), (start, rim)
            if adjoint:
                lost = (x.narrow(axis, *several) * weights).sum(dim=axis, keepdim=True)
                total.narrow(axis, *one).add_(lost)
            else:
                total.narrow(axis, *several).addcmul_(x.narrow(axis, *one), weights)
        x = total
    return x
