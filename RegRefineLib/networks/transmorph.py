"""TransMorph (Chen et al., Medical Image Analysis 82, 2022) and its cardiac variant.

A Swin encoder on the two images as channels (moving, fixed) and a convolutional decoder. Units and
argument order are the published program's: voxels, moving first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RegRefineError
from ..ops.warp import warp
from .base import RegistrationNetwork, Shapes, Sizes
from .blocks.initial_weights import flow_head
from .blocks.swin import SwinEncoder
from .blocks.velocity import exponential, rescale

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed": 6, "depths": (2, 2, 4, 2), "heads": (2, 2, 4, 4)},
    "small": {"embed": 48, "depths": (2, 2, 4, 2), "heads": (4, 4, 4, 4)},
    "base": {"embed": 96, "depths": (2, 2, 4, 2), "heads": (4, 4, 8, 8)},
    "large": {"embed": 128, "depths": (2, 2, 12, 2), "heads": (4, 4, 8, 16)},
}
FULL_SIZE_CHANNELS = 16


# windows of the published programs, for telling them apart by the size of their bias tables
WINDOWS = ((5, 6, 7), (4, 4, 1), (6, 6, 7))


def _infer(shapes: Shapes) -> dict[str, Any]:
    """Return size and window that a file's shapes show; the window only if it is a usual one."""

    def first(ending: str) -> tuple[int, ...]:
        return next((s for n, s in shapes.items() if n.endswith(ending)), (0, 0))

    embed = first("patch_embed.norm.weight")[0]
    blocks = {n.split(".blocks.")[1].split(".")[0] for n in shapes if ".layers.2.blocks." in n}
    rows = first("relative_position_bias_table")[0]
    found: dict[str, Any] = {}
    for name, values in SIZES.items():
        if (values["embed"], values["depths"][2]) == (embed, len(blocks)):
            found["size"] = name
    for window in WINDOWS:
        if prod(2 * n - 1 for n in window) == rows:
            found["window"] = window
    return found


def _size(name: str) -> dict[str, Any]:
    if name not in SIZES:
        raise RegRefineError(f"transmorph: size is one of {', '.join(SIZES)}, got {name!r}")
    return SIZES[name]


class _Conv(nn.Sequential):
    """3x3x3 convolution without bias, instance normalisation, LeakyReLU 0.01."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.InstanceNorm3d(channels_out),
            nn.LeakyReLU(),
        )


class _Up(nn.Module):
    """Trilinear x2, the skip behind it, two convolutions."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.conv1 = _Conv(channels + skip, out)
        self.conv2 = _Conv(out, out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return self.conv2(self.conv1(x))


class TransMorph(RegistrationNetwork):
    """TransMorph; 46,771,251 parameters as "base" with the window (5, 6, 7) of 160x192x224.

    Args:
        size: tiny, small, base or large.
        window: attention window along (D, H, W); the published choice is the image size / 32. It
            decides the number of parameters, the image size does not.
        convolution_skips, transformer_skips: False leaves them out, as in the paper's ablations.
        drop_path: stochastic depth, in training only.
        channels: of the input; others than the two images go through `flow_of` (see firework.py).

    Raises:
        RegRefineError: no such size, or a window that is not three positive numbers.
    """

    stride = 32

    def __init__(
        self,
        size: str = "base",
        window: Sequence[int] = (5, 6, 7),
        convolution_skips: bool = True,
        transformer_skips: bool = True,
        drop_path: float = 0.3,
        channels: int = 2,
    ) -> None:
        super().__init__()
        if len(window) != 3 or min(window) < 1:
            raise RegRefineError(f"transmorph: window needs three sizes, got {window!r}")
        c: int = _size(size)["embed"]
        self.convolution_skips, self.transformer_skips = convolution_skips, transformer_skips
        self.transformer = SwinEncoder(
            **_size(size), window=window, drop_path=drop_path, channels=channels
        )
        deep = 1 if transformer_skips else 0
        shallow = 1 if convolution_skips else 0
        self.up0 = _Up(8 * c, 4 * c * deep, 4 * c)
        self.up1 = _Up(4 * c, 2 * c * deep, 2 * c)
        self.up2 = _Up(2 * c, c * deep, c)
        self.up3 = _Up(c, c // 2 * shallow, c // 2)
        self.up4 = _Up(c // 2, FULL_SIZE_CHANNELS * shallow, FULL_SIZE_CHANNELS)
        self.c1 = _Conv(channels, c // 2)
        self.c2 = _Conv(channels, FULL_SIZE_CHANNELS)
        self.reg_head = nn.Sequential(flow_head(FULL_SIZE_CHANNELS))

    @classmethod
    def options_for(cls, shape: Sizes) -> dict[str, Any]:
        """Return the published window, the image size / 32; two tokens at least per axis."""
        return {"window": [max(2, n // 32) for n in shape]}

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        found = _infer(shapes)
        if "up0.conv1.0.weight" in shapes and "up4.conv1.0.weight" in shapes:
            deep, shallow = shapes["up0.conv1.0.weight"], shapes["up4.conv1.0.weight"]
            found["transformer_skips"] = deep[1] > 2 * deep[0]
            found["convolution_skips"] = shallow[1] > shapes["c1.0.weight"][0]
        return found

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return self.flow_of(torch.cat([moving, fixed], dim=1))

    def flow_of(self, channels: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) of the input (N, channels, D, H, W)."""
        *skips, x = self.transformer(channels)
        for up in (self.up0, self.up1, self.up2):
            skip = skips.pop()
            x = up(x, skip if self.transformer_skips else None)
        half = full = None
        if self.convolution_skips:
            half = self.c1(F.avg_pool3d(channels, 3, stride=2, padding=1))
            full = self.c2(channels)
        return self.reg_head(self.up4(self.up3(x, half), full)).to(channels.dtype)


class TransMorphCardiac(RegistrationNetwork):
    """The cardiac variant that MemWarp compares with; 108,165,635 parameters as "large".

    Windows of (4, 4, 1) for short-axis stacks. Because the window is one slice thick, no block ever
    shifts (see networks/blocks/swin.py). The last axis is padded with zeros on both sides to a
    multiple of 32 (16 slices to 32, as published), the flow is cropped back, taken as a velocity at
    half resolution and integrated.
    """

    stride = (32, 32, 2)

    def __init__(
        self,
        size: str = "large",
        window: Sequence[int] = (4, 4, 1),
        int_steps: int = 7,
        drop_path: float = 0.3,
    ) -> None:
        super().__init__()
        self.int_steps = int_steps
        self.model = TransMorph(size, window, drop_path=drop_path)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        return _infer(shapes)

    def velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the velocity (N, 3, D/2, H/2, W/2) in voxels of its grid."""
        slices = moving.shape[-1]
        margin = -slices % 32 // 2
        flow = self.model(F.pad(moving, (margin, margin)), F.pad(fixed, (margin, margin)))
        return rescale(flow[..., margin : margin + slices], 0.5)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return exponential(self.velocity(moving, fixed), self.int_steps, 2)

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return flow, preint_flow (the velocity) and warped."""
        velocity = self.velocity(moving, fixed)
        flow = exponential(velocity, self.int_steps, 2)
        return {"flow": flow, "preint_flow": velocity, "warped": warp(moving, flow)}
