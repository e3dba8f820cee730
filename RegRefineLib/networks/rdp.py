"""RDP, the recursive deformable pyramid (Wang, Ni, Wang, IEEE TMI 2024).

Takes moving before fixed and gives voxels, like the published program. The displacement grows from
1/8 resolution to the full one; on each level a small network is applied a few times to the fixed
features and the moving features warped so far, and the velocity it predicts is integrated and
applied before the earlier displacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import compose, integrate, warp
from .base import Shapes, TracingNetwork
from .blocks.initial_weights import flow_head
from .blocks.velocity import in_full, rescale

PASSES = {3: 2, 2: 3, 1: 1}  # looks per level below the coarsest; level k has 1/2^(k-1) of the size
COARSEST = 4


def _normalised(x: Tensor) -> Tensor:
    """Return LeakyReLU 0.1 of the instance-normalised `x`."""
    return F.leaky_relu(F.instance_norm(x), 0.1, inplace=True)


class _Conv(nn.Module):
    """3x3x3 convolution, instance norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.main = nn.Conv3d(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _normalised(self.main(x))


class _Residual(nn.Module):
    """Norm, activation and convolution beside an identity, then norm and activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm3d(channels),
            nn.LeakyReLU(0.1),
            nn.Conv3d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return _normalised(self.block(x) + x)


class _Up(nn.Module):
    """Transposed convolution to twice the size, instance norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.upconv = nn.ConvTranspose3d(channels_in, channels_out, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _normalised(self.upconv(x))


class _Merge(nn.Module):
    """Two convolutions of the concatenated fixed, warped moving and context features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_Conv(channels, channels), _Conv(channels, channels))

    def forward(self, *features: Tensor) -> Tensor:
        return self.conv(torch.cat(features, dim=1))


class _Encoder(nn.Module):
    """Features at full, 1/2, 1/4 and 1/8 size with c, 2c, 4c and 8c channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv0 = _Conv(1, c)
        for level in (1, 2, 3):
            width = c * 2**level
            down = nn.Conv3d(width // 2, width, 3, stride=2, padding=1)
            self.add_module(f"conv{level}", nn.Sequential(down, _Residual(width)))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.conv0(image)]
        for level in (1, 2, 3):
            features.append(self.get_submodule(f"conv{level}")(features[-1]))
        return features


class RDP(TracingNetwork):
    """The recursive deformable pyramid; 8,922,444 parameters by default.

    Args:
        channels: features at full size; doubled on each of the three levels below.
    """

    stride = 8
    minimum = (8, 8, 16)  # instance norm needs two voxels at least at 1/8 size

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.encoder_moving = _Encoder(channels)
        self.encoder_fixed = _Encoder(channels)
        width = 8 * channels
        self.cconv_4 = nn.Sequential(_Conv(2 * width, width), _Conv(width, width))
        self.defconv4 = flow_head(width)
        self.dconv4 = nn.Sequential(_Conv(3 * width, width), _Conv(width, width))
        context = width
        for level in PASSES:
            width = channels * 2 ** (level - 1)
            self.add_module(f"upconv{level}", _Up(context, width))
            context = 3 * width
            self.add_module(f"cconv_{level}", _Merge(context))
            self.add_module(f"defconv{level}", flow_head(context))
            if PASSES[level] > 1:
                self.add_module(f"dconv{level}", _Conv(context, width))

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        first = shapes.get("encoder_moving.conv0.main.weight")
        return {"channels": first[0]} if first else {}

    def found(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` and the increments `w_level{L}_pass{k}` at size 1/2^L."""
        found: dict[str, Tensor] = {}
        moved, still = self.encoder_moving(moving), self.encoder_fixed(fixed)
        phi, context = self._coarsest(moved[-1], still[-1], found)
        for level, passes in PASSES.items():
            phi = rescale(phi, 2)
            context = self.get_submodule(f"upconv{level}")(context)
            m, f = moved[level - 1], still[level - 1]
            for step in range(passes):
                if step:
                    context = self.get_submodule(f"dconv{level}")(context)
                context = self.get_submodule(f"cconv_{level}")(f, warp(m, phi), context)
                w = integrate(in_full(self.get_submodule(f"defconv{level}")(context)))
                found[f"w_level{level - 1}_pass{step}"] = w
                phi = compose(phi, w, padding="zeros")
        return {"flow": phi, **found}

    def _coarsest(
        self, moved: Tensor, still: Tensor, found: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return displacement and context at 1/8 size after both passes."""
        context = self.cconv_4(torch.cat([still, moved], dim=1))
        phi = integrate(in_full(self.defconv4(context)))
        context = self.dconv4(torch.cat([still, warp(moved, phi), context], dim=1))
        w = integrate(in_full(self.defconv4(context)))
        found.update(w_level3_pass0=phi, w_level3_pass1=w)
        return compose(phi, w, padding="zeros"), context
