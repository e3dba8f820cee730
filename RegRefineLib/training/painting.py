"""Synthetic images of label maps: intensities, limited resolution, bias field, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.filters import gaussian, window_sum
from .source import Draw

if TYPE_CHECKING:
    from .synthetic import Synthesis

Shape = tuple[int, int, int]


def smooth_noise(draw: Draw, channels: int, shape: Shape, spacing: float) -> Tensor:
    """Return noise (1, channels, D, H, W) that varies over `spacing` voxels; deviation about 1."""
    coarse = [max(2, round(n / spacing) + 1) for n in shape]
    noise = draw.normal(1, channels, *coarse)
    smooth = F.interpolate(noise, shape, mode="trilinear", align_corners=True)
    return smooth / smooth.std().clamp_min(1e-6)


@dataclass(frozen=True, eq=False)
class Paint:
    """The intensity of each label, and how strongly it shows the texture; (labels,) each."""

    means: Tensor
    textures: Tensor

    @classmethod
    def mixed(cls, draw: Draw, labels: int, texture: float, empty: bool) -> Paint:
        """Return a random paint; `empty` leaves label 0 black."""
        return cls._of(draw.uniforms(labels), texture * draw.normal(labels), empty)

    @classmethod
    def about(cls, draw: Draw, means: Tensor, texture: float, empty: bool) -> Paint:
        """Return a paint of about the given means; the texture is a third of a mixed one's."""
        means = means.to(draw.device) + 0.05 * draw.normal(len(means))
        return cls._of(means.clamp(0, 1), texture / 3 * draw.normal(len(means)), empty)

    @classmethod
    def _of(cls, means: Tensor, textures: Tensor, empty: bool) -> Paint:
        if empty:
            means[0] = textures[0] = 0.0
        return cls(means, textures)


def image(draw: Draw, labels: Tensor, texture: Tensor, paint: Paint, wanted: Synthesis) -> Tensor:
    """Return an image (1, 1, D, H, W) in [0, 1] of a label map, as a scanner might show it."""
    index = labels.long()
    painted = paint.means[index] + paint.textures[index] * texture
    sigma = draw.uniform(0, wanted.blur)
    if sigma > 0.2:
        painted = window_sum(painted, gaussian(round(sigma, 1)))
    painted = _thick_slices(draw, painted, wanted.thickness)
    field = smooth_noise(draw, 1, wanted.shape, sum(wanted.shape) / 3 / draw.uniform(1, 4))
    painted = painted * (draw.uniform(0, wanted.bias) * field).exp()
    painted = _unit(painted) ** math.exp(draw.uniform(-1, 1) * wanted.gamma)
    noise = draw.uniform(0, wanted.noise) * draw.normal(*painted.shape)
    return _unit((painted + noise).clamp_min(0))


def _thick_slices(draw: Draw, painted: Tensor, thickness: float) -> Tensor:
    """Return the image as slices of random thickness along a random axis show it."""
    axis, voxels = draw.choice(3), draw.uniform(1, max(1.0, thickness))
    size = list(painted.shape[2:])
    thin = list(size)
    thin[axis] = max(2, round(size[axis] / voxels))
    if thin == size:
        return painted
    slices = torch.tensordot(
        painted, _averages(size[axis], thin[axis]).to(painted), ([2 + axis], [1])
    )
    slices = slices.movedim(-1, 2 + axis)
    return F.interpolate(slices, size, mode="trilinear", align_corners=False)


@lru_cache(maxsize=64)
def _averages(old: int, new: int) -> Tensor:
    """Return the (new, old) matrix of means over what each slice covers, as mode="area" has it.

    Instead of torch's adaptive pooling, which MPS does not have in three dimensions.
    """
    matrix = torch.zeros(new, old)
    for n in range(new):
        first, end = n * old // new, -(-(n + 1) * old // new)
        matrix[n, first:end] = 1 / (end - first)
    return matrix


def _unit(painted: Tensor) -> Tensor:
    """Return the image with its range brought to [0, 1]."""
    low, high = painted.amin(), painted.amax()
    return (painted - low) / (high - low).clamp_min(1e-6)
