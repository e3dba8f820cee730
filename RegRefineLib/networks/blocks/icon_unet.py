"""The U-Net of the ICON family, "tallUNet2" (Greer et al., ICCV 2021), with 17,670,229 parameters.

Every step adds to its convolution a resized copy of its own input, whose channels are cut, or
filled with zeros in front, to the number needed. Halves of sizes are rounded up, and what is
doubled again is cropped to the size it had. An axis needs more than 16 voxels, to be halved five
times.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .velocity import in_full

# features of the levels, finest first, over those of the finest (16 as published)
DOWN = (1, 2, 4, 16, 32)
UP_IN = (3, 6, 12, 32, 32)
UP_OUT = (1, 2, 4, 8, 16)


def _fit(x: Tensor, channels: int) -> Tensor:
    """Return the first `channels` channels, zero channels put in front where there are fewer."""
    missing = channels - x.shape[1]
    if missing <= 0:
        return x[:, :channels]
    return F.pad(x, (0, 0, 0, 0, 0, 0, missing, 0))


class TallUNet2(nn.Module):
    """Two images (N, 1, D, H, W) -> a displacement (N, 3, D, H, W) in units of the unit cube.

    Args:
        width: features of the finest level.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = [2, *(width * n for n in DOWN)]
        self.up = [width * n for n in UP_OUT]
        self.downConvs = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairwise(self.down)
        )
        self.upConvs = nn.ModuleList(
            nn.ConvTranspose3d(width * a, b, 4, stride=2, padding=1)
            for a, b in zip(UP_IN, self.up, strict=True)
        )
        self.batchNorms = nn.ModuleList(nn.BatchNorm3d(n) for n in self.up)
        self.lastConv = nn.Conv3d(width + 2, 3, 3, padding=1)
        for parameter in self.lastConv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the displacement; zero until the last convolution has been trained."""
        x = torch.cat([a, b], dim=1)
        skips = []
        for conv, channels in zip(self.downConvs, self.down[1:], strict=True):
            skips.append(x)
            pooled = F.avg_pool3d(x, 2, ceil_mode=True)
            x = conv(F.leaky_relu(x)) + _fit(pooled, channels)
        steps = zip(self.upConvs, self.batchNorms, self.up, strict=True)
        for conv, norm, channels in reversed(list(steps)):
            wide = F.interpolate(_fit(x, channels), scale_factor=2, mode="trilinear")
            x = norm(conv(F.leaky_relu(x)) + wide)
            skip = skips.pop()
            d, h, w = skip.shape[2:]
            x = torch.cat([x[:, :, :d, :h, :w], skip], dim=1)
        return in_full(self.lastConv(x)) / 10
