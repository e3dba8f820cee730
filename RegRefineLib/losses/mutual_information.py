"""Mutual information, for images of different modalities.

Mattes 2003 (doi:10.1109/TMI.2003.809072): from a joint histogram in which each voxel of the fixed
image falls into one bin, and each voxel of the moving image is spread over four by a cubic
B-spline, so that the histogram changes smoothly with its intensity. Voxels are counted in quarters
of the moving image's bins, and the B-spline is applied to these counts: the cost per voxel is one
addition, and one look-up for the gradient, however many bins there are. Nothing is stored per voxel
besides the two images. Counts are integers, whose sum does not depend on the order of summation,
which on a GPU varies from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..kernels import information as compiled
from ..kernels.door import serves
from ..kernels.information import Axis

FEWEST_BINS, MOST_BINS = 16, 128
PARTS_OF_BIN = 4

_CHUNK = 1 << 16
_ONE = 2**30  # the count of a voxel of weight 1

Limits = tuple[float, float]


def mutual_information(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None = None,
    *,
    bins: int | None = None,
    limits: Limits | None = None,
    normalised: bool = False,
) -> Tensor:
    """Return minus the mutual information of images (N, 1, D, H, W) in nats, a scalar; mean over N.

    Differentiable in `moving`. With limits None, unchanged by a * image + b for a > 0.

    Args:
        mask: weights 0..1 of the voxels, (N, 1, D, H, W), or None for all.
        bins: of the histogram, per image; None: as many as voxels along an edge, as the widths of a
            histogram's bins should shrink (Scott 1979), within 16 and 128.
        limits: intensities of the first and the last bin, values beyond them counting there; None:
            each image's own range where the mask is above zero, taken as constant in the gradient.
        normalised: minus Studholme's (H(f) + H(m)) / H(f, m) instead, in [-2, -1].

    Raises:
        ValueError: fewer than 8 bins.
    """
    if bins is None:
        edge = round(fixed[0].numel() ** (1 / 3))
        bins = max(FEWEST_BINS, min(MOST_BINS, edge))
    if bins < 8:
        raise ValueError(f"bins: 8 or more are needed, got {bins}")
    total = moving.new_zeros(())
    for n in range(fixed.shape[0]):
        weights = None if mask is None else mask[min(n, mask.shape[0] - 1)].to(moving).reshape(-1)
        still, moved = fixed[n].detach().reshape(-1), moving[n].reshape(-1)
        rows = _axis(still, weights, bins, limits)
        columns = _axis(moved, weights, PARTS_OF_BIN * (bins - 3), limits)
        counts = _Counts.apply(moved, still, weights, rows, columns)
        joint = counts @ _spline(bins, PARTS_OF_BIN).to(counts)
        total = total - _information(joint / joint.sum().clamp_min(1e-8), normalised)
    return total / fixed.shape[0]


def normalised_mutual_information(
    fixed: Tensor, moving: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return minus Studholme's normalised mutual information; see `mutual_information`."""
    return mutual_information(fixed, moving, mask, normalised=True)


def _axis(values: Tensor, weights: Tensor | None, size: int, limits: Limits | None) -> Axis:
    if limits is None:
        low, high = _extent(values.detach(), weights)
    else:
        low, high = limits
    width = high - low
    # constant images hold no information, non-finite ones cannot be counted: all in the first bin
    return Axis(low, width, size) if 0 < width < math.inf else Axis(0.0, math.inf, size)


def _extent(values: Tensor, weights: Tensor | None) -> Limits:
    """Return the least and largest value where the weights are above zero; 0, 0 where none is."""
    if weights is not None and serves(values, weights):
        return compiled.extent(values, weights)
    counted = values if weights is None else values[weights > 0]
    if not counted.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(counted)
    return float(low), float(high)


@lru_cache(maxsize=16)
def _spline(bins: int, parts: int) -> Tensor:
    """Return the shares (parts, bins) of a part's counts in every bin: cubic B-splines, sum 1.

    The parts lie in bins 1 to bins - 2, so that every window lies within the histogram.
    """
    middles = 1 + (torch.arange(parts * (bins - 3)) + 0.5) / parts
    away = (middles[:, None] - torch.arange(bins)).abs().double()
    near = (3 * away - 6) * away * away + 4
    far = (2 - away).clamp_min(0) ** 3
    return torch.where(away < 1, near, far) / 6


def _information(p: Tensor, normalised: bool) -> Tensor:
    fixed, moving, joint = (_entropy(q) for q in (p.sum(dim=1), p.sum(dim=0), p))
    if normalised:
        return (fixed + moving) / joint.clamp_min(1e-8)
    return fixed + moving - joint


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-20).log()).sum()


class _Counts(torch.autograd.Function):
    """The counts of the joint histogram by row (fixed image) and column (moving image).

    Its derivative by an intensity is the slope along the columns of what comes back for the table.
    """

    @staticmethod
    def forward(
        ctx: Any, moving: Tensor, fixed: Tensor, weights: Tensor | None, rows: Axis, columns: Axis
    ) -> Tensor:
        ctx.save_for_backward(moving, fixed, weights)
        ctx.axes = rows, columns
        if serves(moving, fixed, weights):
            counts = compiled.counts(fixed, moving, weights, (rows, columns), _ONE)
            return counts.to(moving.dtype).div_(_ONE)
        counts = torch.zeros(rows.size * columns.size, dtype=torch.int64, device=moving.device)
        one = torch.full((_CHUNK,), _ONE, dtype=torch.int64, device=moving.device)
        for part in _chunks(moving.numel()):
            places = _places(fixed[part], moving[part], rows, columns)
            if weights is None:
                weight = one[: len(places)]
            else:
                weight = (weights[part] * _ONE).round_().long()  # exact: a power of two
            counts.scatter_add_(0, places, weight)
        return counts.to(moving.dtype).div_(_ONE).view(rows.size, columns.size)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        moving, fixed, weights = ctx.saved_tensors
        rows, columns = ctx.axes
        (slopes,) = torch.gradient(grad_outputs[0], dim=1)
        slopes = slopes.mul_(columns.size / columns.width).flatten()
        if serves(moving, fixed, weights, slopes):
            gradient = compiled.looked_up(fixed, moving, weights, (rows, columns), slopes)
            return gradient, None, None, None, None
        gradient = torch.empty_like(moving)
        for part in _chunks(moving.numel()):
            here = moving[part]
            slope = slopes[_places(fixed[part], here, rows, columns)]
            slope *= (here >= columns.low) & (here <= columns.low + columns.width)
            gradient[part] = slope if weights is None else slope.mul_(weights[part])
        return gradient, None, None, None, None


def _places(fixed: Tensor, moving: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Return where in the flat table the voxels (V,) count."""
    return _steps(rows, fixed).mul_(columns.size).add_(_steps(columns, moving))


def _steps(axis: Axis, values: Tensor) -> Tensor:
    """Return the bin of each value, as int64; values beyond the limits go to the end bins."""
    share = (values - axis.low).mul_(axis.size / axis.width)
    return share.nan_to_num_(0.0).clamp_(0, axis.size - 1).long()


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
