"""XMorpher: two streams coupled by cross-window attention (Shi, MICCAI 2022).

Queries come from windows of 2x2x2 tokens, keys and values from the three times wider window of the
other image. Takes moving before fixed and gives voxels, like the published program, which calls its
fixed stream `moving` inside. Two details differ there and are restored by `released=True`:

* of a window's 27 neighbours one, at (+1, -1, +1), is left empty by a slip in the indices;
* its warp reads the field in a half-voxel convention (ops/warp.py). `forward` then returns the
  displacement that moves an image exactly as that warp does; `fields` returns the unconverted
  field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import to_exact, warp
from .base import RegistrationNetwork, Shapes
from .blocks.cross_window import CrossWindowAttention
from .blocks.padding import to_multiples
from .blocks.stochastic_depth import StochasticDepth
from .blocks.swin import MLP
from .blocks.velocity import in_full

PATCH = 4
Streams = tuple[Tensor, Tensor]  # each (N, D, H, W, C)


class _Block(nn.Module):
    """Attention of one stream to the other, then an MLP, each with a residual."""

    def __init__(self, channels: int, heads: int, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn = CrossWindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, 4 * channels)
        self.drop_path = StochasticDepth(drop)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the new (N, D, H, W, C) of `x`; the other stream goes in without a norm."""
        x = x + self.drop_path(self.cross_attn(self.norm1(x), other))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class _Down(nn.Module):
    """Half the size, twice the channels; odd sizes get zeros at the end."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down_conv = nn.Conv3d(channels, 2 * channels, 2, stride=2)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = to_multiples(x.permute(0, 4, 1, 2, 3), (2, 2, 2))
        return self.norm(self.down_conv(x).permute(0, 2, 3, 4, 1))


class _Up(nn.Module):
    """Twice the size, half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(channels, channels // 2, 2, stride=2)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.up_conv(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1))


class _Stage(nn.Module):
    """Blocks of one resolution and the way to the next; both streams share the weights."""

    def __init__(
        self,
        channels: int,
        heads: int,
        drops: Sequence[float],
        resample: type[_Down] | type[_Up] | None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(channels, heads, drop) for drop in drops)
        self.downsample = resample(channels) if resample else None

    def forward(self, streams: Streams) -> tuple[Streams, Streams]:
        """Return the streams after the blocks, and after the change of resolution."""
        a, b = streams
        for block in self.blocks:
            a, b = block(a, b), block(b, a)
        if self.downsample is None:
            return (a, b), (a, b)
        return (a, b), (self.downsample(a), self.downsample(b))


class _PatchEmbedding(nn.Module):
    """Blocks of 4^3 voxels as tokens."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels_in, channels, PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(to_multiples(image, (PATCH,) * 3)).permute(0, 2, 3, 4, 1)


class _Cross(nn.Module):
    """Encoder and decoder of both streams; their joint features are 24 channels at full size."""

    def __init__(
        self, embed: int, depths: Sequence[int], heads: Sequence[int], drop: float
    ) -> None:
        super().__init__()
        last = len(depths) - 1
        widths = [embed * 2**i for i in range(len(depths))]
        blocks = [0, *accumulate(depths)]
        rates = [
            [drop * k / max(blocks[-1] - 1, 1) for k in range(blocks[i], blocks[i + 1])]
            for i in range(len(depths))
        ]
        self.patch_embed = _PatchEmbedding(1, embed)
        self.layers = nn.ModuleList(
            _Stage(widths[i], heads[i], rates[i], _Down if i < last else None)
            for i in range(last + 1)
        )
        self.up_layers = nn.ModuleList(
            _Stage(widths[i], heads[i], rates[i], _Up if i else None) for i in range(last, -1, -1)
        )
        # the first is in published files though nothing uses it
        self.concat_back_dim = nn.ModuleList(
            nn.Linear(2 * width, width) for width in reversed(widths)
        )
        self.norm = nn.LayerNorm(embed * 2**last)
        self.norm2 = nn.LayerNorm(2 * embed)
        self.reverse_patch_embedding = nn.ConvTranspose3d(2 * embed, embed // 2, PATCH, PATCH)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        streams = self.patch_embed(first), self.patch_embed(second)
        skips = []
        for stage in self.layers:
            skip, streams = stage(streams)
            skips.append(skip)
        a, b = streams
        streams = self.norm(a), self.norm(b)
        for i, stage in enumerate(self.up_layers):
            if i:
                a, b = (
                    self.concat_back_dim[i](torch.cat([_like(x, skip), skip], dim=-1))
                    for x, skip in zip(streams, skips[-1 - i], strict=True)
                )
                streams = a, b
            _, streams = stage(streams)
        tokens = self.norm2(torch.cat(streams, dim=-1))
        return self.reverse_patch_embedding(tokens.permute(0, 4, 1, 2, 3))


def _like(x: Tensor, skip: Tensor) -> Tensor:
    """Return (N, D, H, W, C) trilinearly at the size of `skip`."""
    if x.shape[1:4] == skip.shape[1:4]:
        return x
    size = list(skip.shape[1:4])
    x = F.interpolate(x.permute(0, 4, 1, 2, 3), size, mode="trilinear", align_corners=True)
    return x.permute(0, 2, 3, 4, 1)


class XMorpher(RegistrationNetwork):
    """The cross-attention network; 15,093,891 parameters by default.

    Args:
        embed: channels at 1/4 of the size, doubled on each stage below.
        depths, heads: blocks and attention heads of each stage.
        drop: of residual branches, growing to this rate along the blocks, while training.
        released: as the published program is (see above).
    """

    stride = PATCH

    def __init__(
        self,
        embed: int = 48,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        drop: float = 0.2,
        released: bool = False,
    ) -> None:
        super().__init__()
        self.swin = _Cross(embed, depths, heads, drop)
        self.out_conv = nn.Conv3d(embed // 2, 3, 3, padding=1)
        self.convention = "half-voxel" if released else "exact"
        for module in self.modules():
            if isinstance(module, CrossWindowAttention):
                module.complete = not released

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        first = shapes.get("swin.patch_embed.proj.weight")
        depths: list[int] = []
        while any(name.startswith(f"swin.layers.{len(depths)}.") for name in shapes):
            start = f"swin.layers.{len(depths)}.blocks."
            depths.append(len({n.split(".")[4] for n in shapes if n.startswith(start)}))
        return {"embed": first[0], "depths": depths} if first else {}

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        flow = self._flow(moving, fixed)
        return flow if self.convention == "exact" else to_exact(flow, self.convention)

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow`, `warped_moving` and `warped_fixed`.

        The fixed image moves through minus the field warped by itself, as published.
        """
        flow = self._flow(moving, fixed)
        back = -warp(flow, flow, convention=self.convention)
        return {
            "flow": flow,
            "warped_moving": warp(moving, flow, convention=self.convention),
            "warped_fixed": warp(fixed, back, convention=self.convention),
        }

    def _flow(self, moving: Tensor, fixed: Tensor) -> Tensor:
        d, h, w = moving.shape[2:]
        return in_full(self.out_conv(self.swin(fixed, moving)))[:, :, :d, :h, :w]
