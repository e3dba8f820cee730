"""VoxelMorph of the package since 0.3 (`VxmPairwise`, 0.3.4): other layers, other names.

Written from the package's printed structure and checked against its output on random weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import integrate, warp
from .base import RegistrationNetwork, Shapes
from .blocks.initial_weights import near_zero


class _Conv(nn.Module):
    """One convolution, `conv0` in the published state; ReLU unless `linear`."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 3, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        return x if self.linear else F.relu(x)


class _Block(nn.Module):
    """A convolution under one more name, before pooling or after enlarging."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_block = _Conv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_block(x)


class _UNet(nn.Module):
    """Max pooling down, trilinear up, a linear 1x1x1 layer to three components."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        widths = [2, *features]
        self.downsampling_conv_blocks = nn.ModuleList(
            _Block(a, b) for a, b in zip(widths, features, strict=False)
        )
        self.lowest_resolution_conv_block = _Conv(features[-1], features[-1])
        width = features[-1]
        self.upsampling_conv_blocks = nn.ModuleList()
        for skip in reversed(features):
            self.upsampling_conv_blocks.append(_Block(width + skip, skip))
            width = skip
        self.out_layer = _Conv(width, 3, kernel=1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.downsampling_conv_blocks:
            skips.append(block(x))
            x = F.max_pool3d(skips[-1], 2)
        x = self.lowest_resolution_conv_block(x)
        for block in self.upsampling_conv_blocks:
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = block(torch.cat([x, skips.pop()], dim=1))
        return self.out_layer(x)


class VoxelMorphPairwise(RegistrationNetwork):
    """VxmPairwise of voxelmorph 0.3.4; 105,017 parameters by default.

    Args:
        features: channels per level, finest first.
        int_steps: squarings; 0 makes the output the displacement itself.
    """

    def __init__(
        self,
        features: Sequence[int] = (16, 16, 16, 16, 16),
        int_steps: int = 5,
    ) -> None:
        super().__init__()
        self.int_steps = int_steps
        self.stride = 2 ** len(features)
        self.flow_layer = _Conv(3, 3, linear=True)
        self.model = _UNet(features)
        near_zero(self.flow_layer.conv0)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features that a file's shapes show."""
        pattern = r"model\.downsampling_conv_blocks\.\d+\.conv_block\.conv0\.weight"
        return {"features": [s[0] for n, s in shapes.items() if re.fullmatch(pattern, n)]}

    def velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the velocity (N, 3, D, H, W) in voxels, before integration."""
        return self.flow_layer(self.model(torch.cat([moving, fixed], dim=1))).to(moving.dtype)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        velocity = self.velocity(moving, fixed)
        return integrate(velocity, self.int_steps) if self.int_steps else velocity

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return flow, velocity and warped."""
        flow = self(moving, fixed)
        velocity = self.velocity(moving, fixed)
        return {"flow": flow, "velocity": velocity, "warped": warp(moving, flow)}
