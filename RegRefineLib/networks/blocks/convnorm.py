"""Convolutions followed by batch norm, merged into one convolution in evaluation mode.

Folding the norm's running statistics into the weights is exact up to rounding, differentiable, and
saves one or two copies of the features; in training the layers are applied one after the other. The
keys of the state are those of a plain sequence: 0 the convolution, 1 the norm, 2 what follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, ...]
ONE = (1, 1, 1)


def _fold(conv: nn.Module, norm: nn.Module, axis: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of `conv` then `norm`; `axis` is the weight's of output channels."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.get_parameter("weight") / torch.sqrt(variance + 1e-5)
    shape = [1] * 5
    shape[axis] = -1
    bias = (conv.get_parameter("bias") - mean) * scale + norm.get_parameter("bias")
    return conv.get_parameter("weight") * scale.view(shape), bias


def _then(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Return `x` after the layers that follow convolution and norm."""
    for layer in list(layers)[2:]:
        x = layer(x)
    return x


class ConvNorm(nn.Sequential):
    """Convolution that keeps the size (over `stride`), batch norm, then `more`."""

    def __init__(
        self, channels: tuple[int, int], size: Size, *more: nn.Module, stride: Size = ONE
    ) -> None:
        padding = tuple(n // 2 for n in size)
        conv = nn.Conv3d(*channels, size, stride, padding)  # type: ignore[arg-type]
        super().__init__(conv, nn.BatchNorm3d(channels[1]), *more)
        self.stride = stride

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the weight and bias of the merged convolution and norm."""
        return _fold(self[0], self[1], axis=0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (N, C, D, H, W)."""
        if self.training:
            return super().forward(x)
        weight, bias = self.folded()
        return _then(self, self._convolve(x, weight, bias))

    def of_sum_and_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the features of a + b and a - b, concatenated; in evaluation without making them.

        As W1 (a + b) + W2 (a - b) = (W1 + W2) a + (W1 - W2) b.
        """
        if self.training:
            return super().forward(torch.cat([a + b, a - b], dim=1))
        weight, bias = self.folded()
        first, second = weight.chunk(2, dim=1)
        x = self._convolve(a, first + second, bias)
        x += self._convolve(b, first - second, None)
        return _then(self, x)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv3d(x, weight, bias, self.stride, [n // 2 for n in weight.shape[2:]])


class UpNorm(nn.Sequential):
    """Transposed convolution that enlarges by `factors`, batch norm, then `more`."""

    def __init__(self, channels: tuple[int, int], factors: Size, *more: nn.Module) -> None:
        conv = nn.ConvTranspose3d(*channels, factors, factors)  # type: ignore[arg-type]
        super().__init__(conv, nn.BatchNorm3d(channels[1]), *more)
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (N, C, D, H, W)."""
        if self.training:
            return super().forward(x)
        weight, bias = _fold(self[0], self[1], axis=1)
        return _then(self, F.conv_transpose3d(x, weight, bias, self.factors))


def merge(branches: Sequence[ConvNorm], identity: bool) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the sum of `branches`, the largest first, and of the identity."""
    weight, bias = branches[0].folded()
    size = weight.shape[2:]
    for branch in branches[1:]:
        more, shift = branch.folded()
        weight, bias = weight + F.pad(more, _margins(size, more.shape[2:])), bias + shift
    if identity:
        same = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
        weight = weight + F.pad(same[:, :, None, None, None], _margins(size, ONE))
    return weight, bias


def _margins(large: Sequence[int], small: Sequence[int]) -> list[int]:
    """Return F.pad's margins, last axis first, that put `small` in the middle of `large`."""
    pairs = zip(reversed(large), reversed(small), strict=True)
    return [n for a, b in pairs for n in ((a - b) // 2,) * 2]
