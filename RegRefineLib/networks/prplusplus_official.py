"""PR++, the dual-stream pyramid (Kang et al., MedIA 2022), as its authors published it.

Takes moving before fixed (the published program stacks them, moving first). It keeps fields as
absolute normalised positions; here they are positions in voxels. The published program resizes and
samples them with voxel edges aligned although they are normalised by voxel centres: with
`released=True` that is computed as published, and `forward` returns the displacement that moves an
image exactly as the published warp does; otherwise centres are aligned throughout. `fields` has the
field as it comes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import identity, to_exact, warp
from .base import RegistrationNetwork
from .blocks.correlation import shifted_products
from .blocks.velocity import in_full

LEVELS = (32, 32, 16, 16, 8)  # channels at 1/8, 1/4, 1/2 and twice full size
REACH = 2  # of the correlation, in voxels: -2, 0, 2 along each axis


def _conv(before: int, after: int, stride: int = 1, bias: bool = True) -> nn.Sequential:
    """Return a 3x3x3 convolution and ReLU."""
    conv = nn.Conv3d(before, after, 3, stride, padding=1, bias=bias)
    return nn.Sequential(conv, nn.ReLU())


class _VoxNet(nn.Module):
    """The U-Net whose decoder gives the features of the five levels."""

    def __init__(self, align: bool) -> None:
        super().__init__()
        self.align = align
        self.conv1_1 = _conv(1, 8, bias=False)
        self.conv1_2 = _conv(8, 16, stride=2)
        self.conv4 = _conv(16, 16, stride=2)
        self.conv7 = _conv(16, 32, stride=2)
        self.conv8 = _conv(32, 32, stride=2)
        self.decv1 = _conv(32, 32)
        self.decv2 = _conv(64, 32)
        self.decv3 = _conv(48, 16)
        self.decv4 = _conv(32, 16)
        self.decv5 = _conv(24, 8)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of the levels, coarsest first."""
        full = self.conv1_1(image)
        half = self.conv1_2(full)
        quarter = self.conv4(half)
        eighth = self.conv7(quarter)
        level1 = self.decv1(_twice(self.conv8(eighth), self.align))
        level2 = self.decv2(_twice(torch.cat([level1, eighth], dim=1), self.align))
        level3 = self.decv3(_twice(torch.cat([level2, quarter], dim=1), self.align))
        level4 = self.decv4(_twice(torch.cat([level3, half], dim=1), self.align))
        return [level1, level2, level3, level4, self.decv5(torch.cat([level4, full], dim=1))]


class _FlowNet(nn.Module):
    """The offsets of one level from moving and fixed features and their correlation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = _conv(2 * channels + 27, channels), _conv(channels, channels)
        self.conv_layer = nn.Sequential(*first, *second)
        self.resblock_layer_1 = nn.Sequential(
            *_conv(channels, channels), *_conv(channels, channels)
        )
        self.offset_layer = nn.Conv3d(channels, 3, 3, padding=1)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return (N, 3, d, h, w) in voxels of the level, the last axis first."""
        x = self.conv_layer(torch.cat([moving, fixed, correlate(moving, fixed)], dim=1))
        return in_full(self.offset_layer(x + self.resblock_layer_1(x)))


def correlate(moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the mean over channels of moving(x) * fixed(x + o), (N, 27, d, h, w).

    Offsets o are -2, 0 and 2 voxels along each axis, the first axis slowest; zeros lie outside.
    """
    padded = F.pad(fixed, [REACH] * 6)
    return shifted_products(moving, padded, REACH) / moving.shape[1]


def _twice(x: Tensor, align: bool) -> Tensor:
    """Return `x` trilinearly at twice the size."""
    return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=align)


class PRPlusPlusOfficial(RegistrationNetwork):
    """The dual-stream pyramid of its authors; 613,855 parameters.

    Args:
        released: resize and sample as published (see above).
    """

    stride = 16

    def __init__(self, released: bool = False) -> None:
        super().__init__()
        self.convention = "half-voxel" if released else "exact"
        self.pyramid = _VoxNet(align=not released)
        self.offset = nn.ModuleList(_FlowNet(channels) for channels in LEVELS)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        flow = self._register(moving, fixed)["displacement_axis_order"]
        return flow if self.convention == "exact" else to_exact(flow, self.convention)

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `displacement_axis_order`, `warped` and the levels' offsets `delta_{k}`.

        The offsets are the convolutions' output: voxels of the level, the last axis first.
        """
        found = self._register(moving, fixed)
        return {**found, "warped": self._warp(moving, found["displacement_axis_order"])}

    def _register(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        n = len(moving)
        levels = self.pyramid(torch.cat([moving, fixed]))
        position = x = identity(tuple(levels[0].shape[2:]), moving)  # type: ignore[arg-type]
        for k, (features, flow) in enumerate(zip(levels, self.offset, strict=True)):
            moved, still = features[:n], features[n:]
            if k:
                if position.shape[2:] != features.shape[2:]:
                    position = self._finer(position)
                    x = identity(tuple(features.shape[2:]), moving)  # type: ignore[arg-type]
                moved = self._warp(moved, (position - x).detach())
            delta = flow(moved, still)
            w = delta.flip(1)  # the network's own order is the last axis first
            position = self._warp(position, w) if k else x + w
            found[f"delta_{k}"] = delta
        return {"displacement_axis_order": position - x, **found}

    def _warp(self, image: Tensor, displacement: Tensor) -> Tensor:
        return warp(image, displacement, padding="border", convention=self.convention)

    def _finer(self, position: Tensor) -> Tensor:
        """Return absolute positions at twice the size, in its voxels: ends stay ends."""
        scale = [(2 * n - 1) / (n - 1) for n in position.shape[2:]]
        up = _twice(position, align=self.convention == "exact")
        return up * position.new_tensor(scale).view(1, 3, 1, 1, 1)
