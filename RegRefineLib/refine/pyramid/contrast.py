"""Whether two images are of one kind: is what is bright in one mostly bright in the other?

If they are not, as with T1 and T2, CT and MR, or an image and its negative, local correlation
aligns structures that do not correspond. Mutual information does not, but it is the weaker
similarity for images of one kind. In this project's benchmark, after affine alignment, pairs of one
kind have a correlation of .37 or more within the body, and pairs of two kinds .18 or less;
differences in shading lower that correlation, but not the local one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...ops.filters import box, downsampled, window_sum
from ...pair import Pair, compared

LEAST_CORRELATION, LEAST_LOCAL = 0.25, 0.5
VOXELS = 40_000  # that are sampled
BODY = 0.05  # of the range of intensities: below it is empty space
WIDTH = 5  # of a local correlation's window


class Contrast(NamedTuple):
    """The images' correlation within the body, and the mean of the local ones where there is
    structure, both from -1 to 1."""

    whole: float
    local: float

    @property
    def two_kinds(self) -> bool:
        """Whether the images are of two kinds."""
        return self.whole < LEAST_CORRELATION and self.local < LEAST_LOCAL


@torch.no_grad()
def contrast_of(pair: Pair, start: Tensor) -> Contrast:
    """Return the contrast of a pair that is roughly aligned.

    Args:
        start: the displacement by which a mask of the moving image is warped.
    """
    factor = max(1.0, (pair.fixed.numel() / VOXELS) ** (1 / 3))
    shape = tuple(max(2, round(n / factor)) for n in pair.shape)
    fixed, moving = (downsampled(x, shape) for x in (pair.fixed, pair.moving))  # type: ignore[arg-type]
    body = (fixed > BODY) | (moving > BODY)
    mask = compared(pair, start)
    if mask is not None:
        body &= downsampled(mask, shape) > 0.99  # type: ignore[arg-type]
    if int(body.sum()) < 2:
        return Contrast(1.0, 1.0)
    return Contrast(_correlation(fixed[body], moving[body]), _local(fixed, moving, body))


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))


def _local(fixed: Tensor, moving: Tensor, body: Tensor) -> float:
    """Return the mean local correlation over the half of the body with the most structure."""
    weights = box(WIDTH)
    count = window_sum(torch.ones_like(fixed), weights)

    def mean(x: Tensor) -> Tensor:
        return window_sum(x, weights) / count

    f, m = mean(fixed), mean(moving)
    var_f, var_m = mean(fixed * fixed) - f * f, mean(moving * moving) - m * m
    cross = mean(fixed * moving) - f * m
    there = body & (var_f > var_f[body].median()) & (var_m > 1e-8)
    if not bool(there.any()):
        return 1.0
    scale = (var_f[there] * var_m[there]).clamp_min(1e-16).sqrt()
    return float((cross[there] / scale).clamp(-1, 1).mean())
