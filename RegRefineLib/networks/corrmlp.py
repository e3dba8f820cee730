"""CorrMLP, coarse to fine with correlation-aware window MLPs (Meng et al., CVPR 2024).

Gives voxels like the published program, but takes (moving, fixed) where that takes (fixed, moving).
The displacement of each level is what its head gives plus twice the enlarged one below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import warp
from .base import Shapes, TracingNetwork
from .blocks.initial_weights import flow_head
from .blocks.velocity import in_full, rescale
from .blocks.window_mlp import CorrelationMLP


class _ConvBlock(nn.Module):
    """Twice: 3x3x3 convolution, LeakyReLU 0.2, instance norm (the activation before the norm)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.Conv_1 = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.Conv_2 = nn.Conv3d(channels_out, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.Conv_1, self.Conv_2):
            x = F.instance_norm(F.leaky_relu(conv(x), 0.2, inplace=True))
        return x


class _Encoder(nn.Module):
    """Features at full, 1/2, 1/4 and 1/8 size with c, 2c, 4c and 8c channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.Convblock_1 = _ConvBlock(1, c)
        self.Convblock_2 = _ConvBlock(c, 2 * c)
        self.Convblock_3 = _ConvBlock(2 * c, 4 * c)
        self.Convblock_4 = _ConvBlock(4 * c, 8 * c)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.Convblock_1(image)]
        for block in (self.Convblock_2, self.Convblock_3, self.Convblock_4):
            features.append(block(F.avg_pool3d(features[-1], 2)))
        return features


class _Up(nn.Module):
    """Transposed convolution to twice the size and half the channels, layer norm over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(channels, channels // 2, 2, stride=2)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.up_conv(x).movedim(1, -1)).movedim(-1, 1)


class _Head(nn.Module):
    """Convolution to a displacement; it begins near zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reg_head = flow_head(channels)

    def forward(self, x: Tensor) -> Tensor:
        return in_full(self.reg_head(x))


class _Decoder(nn.Module):
    """Levels 4 (1/8 size) to 1 (full size), level k with `width` * 2^(k-1) channels."""

    def __init__(self, enc: int, width: int) -> None:
        super().__init__()
        for level in (1, 2, 3, 4):
            c = width * 2 ** (level - 1)
            self.add_module(f"mlp_1{level}", CorrelationMLP(enc * 2 ** (level - 1), c))
            self.add_module(f"reghead_{level}", _Head(c))
            if level < 4:
                self.add_module(f"mlp_2{level}", CorrelationMLP(c, c))
                self.add_module(f"upsample_{level}", _Up(2 * c))

    def forward(self, fixed: list[Tensor], moving: list[Tensor]) -> dict[str, Tensor]:
        """Return the displacement `flow` and what every head gave, `head_{level}`."""
        x = self.get_submodule("mlp_14")(fixed.pop(), moving.pop())
        flow = self.get_submodule("reghead_4")(x)
        found = {"head_4": flow}
        for level in (3, 2, 1):
            before = rescale(flow, 2)
            pair = self.get_submodule(f"mlp_1{level}")(fixed.pop(), warp(moving.pop(), before))
            x = self.get_submodule(f"upsample_{level}")(x)
            x = self.get_submodule(f"mlp_2{level}")(pair, x)
            found[f"head_{level}"] = self.get_submodule(f"reghead_{level}")(x)
            flow = found[f"head_{level}"] + before
        return {"flow": flow, **found}


class CorrMLP(TracingNetwork):
    """The correlation-aware MLP pyramid; 4,190,834 parameters by default.

    Args:
        encoder_channels: features of the encoder at full size.
        decoder_channels: features of the decoder at full size; a multiple of 4.
    """

    stride = 8
    minimum = (8, 8, 16)  # instance norm needs two voxels at least at 1/8 size

    def __init__(self, encoder_channels: int = 8, decoder_channels: int = 16) -> None:
        super().__init__()
        self.Encoder = _Encoder(encoder_channels)
        self.Decoder = _Decoder(encoder_channels, decoder_channels)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        names = {
            "encoder_channels": "Encoder.Convblock_1.Conv_1.weight",
            "decoder_channels": "Decoder.mlp_11.Conv.weight",
        }
        return {option: shapes[n][0] for option, n in names.items() if n in shapes}

    def found(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` and `head_{k}` for levels k = 4 (1/8 size) to 1 (full size)."""
        return self.Decoder(self.Encoder(fixed), self.Encoder(moving))
