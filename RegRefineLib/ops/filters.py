"""Separable windows: a k^3 sum is three k-sums. Never a dense k^3 kernel.

A window is its 1-D weights (odd length, symmetric); the 3-D window is their outer product, with
zeros outside the image. The plain form, and a GPU's, is a product with a banded matrix per axis;
float32 on a CPU goes through a compiled loop (kernels/door.py decides).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.door import serves
from ..kernels.windows import summed
from ..memory import device_cache

Weights = tuple[float, ...]


def box(width: int) -> Weights:
    """Return the weights of a box of odd `width`: ones, so that windows are sums.

    Raises:
        ValueError: the width is not a positive odd number.
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width: a positive odd number is needed, got {width}")
    return (1.0,) * width


@lru_cache(maxsize=32)
def gaussian(sigma: float, width: int | None = None) -> Weights:
    """Return Gaussian weights that sum to 1; `width` defaults to 3 sigma on both sides.

    The 3-D outer product of these equals the normalised 3-D Gaussian.
    """
    half = (width - 1) // 2 if width else max(1, math.ceil(3 * sigma))
    values = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-half, half + 1)]
    total = sum(values)
    return tuple(v / total for v in values)


def window_sum(x: Tensor, weights: Weights) -> Tensor:
    """Return the weighted sum over the window at every voxel, of `x`'s shape (..., D, H, W).

    Zeros lie outside. The weights are symmetric, so the operation is its own adjoint.
    """
    volumes = x.reshape(-1, *x.shape[-3:])
    window = summed if serves(x, by=(x,)) else _banded
    return window(volumes, weights).reshape(x.shape)


def downsampled(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return (..., D, H, W) on a grid of `shape` of the same extent, smoothed against aliasing.

    A Gaussian of 0.42 new voxels along every axis that gets fewer of them, edges continued, then
    trilinear interpolation: together one small matrix per axis.
    """
    for axis, (old, new) in enumerate(zip(image.shape[-3:], shape, strict=True), start=-3):
        if new != old:
            matrix = _thinning(old, new).to(image)
            image = (image.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return image.contiguous()


@lru_cache(maxsize=64)
def _thinning(old: int, new: int) -> Tensor:
    """Return the (new, old) matrix of smoothing and interpolating an axis."""
    unit = torch.eye(old, dtype=torch.float64)[:, None]
    if new < old:
        weights = torch.tensor(gaussian(round(0.42 * old / new, 4)), dtype=torch.float64)
        half = len(weights) // 2
        unit = F.conv1d(F.pad(unit, (half, half), mode="replicate"), weights.view(1, 1, -1))
    return F.interpolate(unit, size=new, mode="linear", align_corners=False)[:, 0].T


def box3(x: Tensor) -> Tensor:
    """Return the means over 3^3 voxels of (..., D, H, W), zeros outside counted; differentiable."""
    if serves(x, by=(x,)):
        return window_sum(x, (1 / 3,) * 3)
    return _Box3.apply(x)  # type: ignore[no-any-return]


class _Box3(torch.autograd.Function):
    """Three-voxel sums along each axis over 27, as shifted additions: its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        for axis in (-3, -2, -1):
            n = x.shape[axis] - 1
            total = x.clone()
            total.narrow(axis, 1, n).add_(x.narrow(axis, 0, n))
            total.narrow(axis, 0, n).add_(x.narrow(axis, 1, n))
            x = total
        return x.div_(27)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return box3(grad_outputs[0])


def _banded(volumes: Tensor, weights: Weights) -> Tensor:
    """(q, D, H, W): one product with a banded matrix per axis."""
    q, d, h, w = volumes.shape
    a, b, c = (_band(n, weights, volumes.dtype, str(volumes.device)) for n in (d, h, w))
    y = torch.matmul(b, volumes.reshape(q * d, h, w) @ c)
    return torch.matmul(a, y.reshape(q, d, h * w)).reshape(q, d, h, w)


@device_cache(128)
def _band(size: int, weights: Weights, dtype: torch.dtype, device: str) -> Tensor:
    """Return the symmetric (size, size) matrix whose rows hold the weights about the diagonal."""
    half = len(weights) // 2
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for offset, weight in zip(range(-half, half + 1), weights, strict=True):
        if abs(offset) < size:
            matrix += weight * torch.diag(torch.ones(size - abs(offset), dtype=dtype), offset)
    return matrix.to(device=device, dtype=dtype)
