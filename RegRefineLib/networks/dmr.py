"""DMR: displacement attention on four levels, refined coarse to fine (Chen et al., MICCAI 2022).

One encoder for both images; on each of four levels a Deformer gives a displacement per voxel, and a
refining network merges them with the features, from 1/16 of the size to the full one. Takes moving
before fixed and gives voxels, like the published program, whose warp reads the field in a
half-voxel convention (ops/warp.py): with `released=True`, `forward` returns the displacement that
moves an image exactly as that warp does. `fields` returns the unconverted fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..ops.warp import to_exact, warp
from .base import RegistrationNetwork
from .blocks.velocity import in_full, rescale

ENCODER = (1, 16, 32, 32, 64)  # channels at full size, 1/2, 1/4, 1/8, 1/16
HEADS, BASES = 8, 64
WIDTH = 128  # of the refining network
CHUNK = 2**16  # tokens at a time


class _Attention(nn.Module):
    """The weights of a Deformer: bases of displacement, and how much each counts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sampling_offsets = nn.Linear(channels, HEADS * BASES * 3)
        self.attention_weights = nn.Linear(2 * channels, HEADS * BASES)

    def forward(self) -> Tensor:
        """Return the bilinear form (3, 2C + 1, C + 1) that the attention is.

        Both layers are linear and nothing lies between them and the sum over heads and bases, so
        with [.., 1] appended displacement_c = [q, k, 1]^T form_c [q, 1]: the 2,048 values per voxel
        of the published program need not be made.
        """
        weight, offset = self.attention_weights, self.sampling_offsets
        left = torch.cat([weight.weight, weight.bias[:, None]], dim=1)
        right = torch.cat([offset.weight, offset.bias[:, None]], dim=1)
        return torch.einsum("bi,bcj->cij", left, right.view(HEADS * BASES, 3, -1)) / HEADS


class _Layer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slf_attn = _Attention(channels)

    def forward(self) -> Tensor:
        return self.slf_attn()


class _Deformer(nn.Module):
    """A displacement for every voxel from the features of both images there."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.layer_stack = nn.ModuleList([_Layer(channels)])
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return (N, 3, d, h, w) in voxels of the level, of features (N, C, d, h, w)."""
        form = self.layer_stack[0]()
        n, _, *size = moving.shape
        both = torch.stack([moving, fixed]).flatten(3).transpose(2, 3)  # (2, N, tokens, C)
        parts = []
        for first in range(0, both.shape[2], CHUNK):
            tokens = both[:, :, first : first + CHUNK]
            table = _positions(first, *tokens.shape[2:]).to(tokens.dtype).to(tokens.device)
            q, k = self.layer_norm(self.dropout(tokens + table))
            one = torch.ones_like(q[..., :1])
            left, right = torch.cat([q, k, one], dim=-1), torch.cat([q, one], dim=-1)
            parts.append(torch.stack([((right @ f.t()) * left).sum(dim=-1) for f in form], dim=1))
        return torch.cat(parts, dim=-1).reshape(n, 3, *size)


def _positions(first: int, count: int, channels: int) -> Tensor:
    """Return the sine table (count, channels) of Vaswani et al. (2017) for tokens from `first`."""
    position = torch.arange(first, first + count, dtype=torch.float64)[:, None]
    pair = torch.arange(channels, dtype=torch.float64) // 2
    angle = position * torch.exp(-math.log(10000.0) * 2 * pair / channels)
    return torch.where(torch.arange(channels) % 2 == 0, angle.sin(), angle.cos())


def _mix(channels: tuple[int, ...], sizes: tuple[int, int, int]) -> nn.Sequential:
    """Return three convolutions, each with GroupNorm (one group) and ReLU."""
    layers: list[nn.Module] = []
    for before, after, size in zip(channels[:-1], channels[1:], sizes, strict=True):
        conv = nn.Conv3d(before, after, size, padding=size // 2)
        layers += [conv, nn.GroupNorm(1, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _decode(before: int, after: int, *last: nn.Module) -> nn.Sequential:
    """Return two convolutions with ReLU between them, and `last` behind."""
    first, second = nn.Conv3d(before, before, 3, padding=1), nn.Conv3d(before, after, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, *last)


class _Refining(nn.Module):
    """Merges the four fields with the features into one field at full size."""

    def __init__(self) -> None:
        super().__init__()
        squeeze = (3, 16, 64, WIDTH)
        merge = (WIDTH, WIDTH, WIDTH)
        self.encoder_layer4 = _mix(squeeze, (3, 3, 3))
        self.encoder_layer3 = _mix(squeeze, (5, 3, 3))
        self.encoder_layer2 = _mix(squeeze, (5, 5, 3))
        self.encoder_layer1 = _mix(squeeze, (5, 5, 5))
        self.encoder_layer4to3 = _mix((WIDTH + 2 * ENCODER[3], *merge), (3, 3, 3))
        self.encoder_layer3to2 = _mix((WIDTH + 2 * ENCODER[2], *merge), (3, 3, 3))
        self.encoder_layer2to1 = _mix((WIDTH + 2 * ENCODER[1], *merge), (3, 3, 3))
        self.decoder1 = _decode(WIDTH, 64, nn.ReLU())
        self.decoder2 = _decode(64, 16, nn.ReLU())
        self.decoder3 = _decode(16, 3)

    def forward(self, fields: list[Tensor], features: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return (N, 3, D, H, W) of fields and (moving, fixed) features, coarsest first."""
        x = self.encoder_layer4(fields[0])
        for level, field, pair in zip((3, 2, 1), fields[1:], features[1:], strict=True):
            x = rescale(x, 2) + self.get_submodule(f"encoder_layer{level}")(field)
            merge = self.get_submodule(f"encoder_layer{level + 1}to{level}")
            x = merge(torch.cat([x, *pair], dim=1))
        return self.decoder3(self.decoder2(rescale(self.decoder1(x), 2)))


class _Backbone(nn.Module):
    """Four halvings, each convolution, batch norm, LeakyReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 4, 2, 1), nn.BatchNorm3d(b), nn.LeakyReLU(0.2))
            for a, b in pairwise(ENCODER)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features, coarsest first."""
        features: list[Tensor] = []
        for block in self.enc:
            x = block(x)
            features.insert(0, x)
        return features


class DMR(RegistrationNetwork):
    """The Deformer network; 7,976,611 parameters.

    In training, batch norm covers both images at once, as published.

    Args:
        dropout: of the Deformers' tokens, while training.
        released: read the field as the published warp does (see above).
    """

    stride = 16

    def __init__(self, dropout: float = 0.1, released: bool = False) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.derlearn = _Refining()
        self.derlayer = nn.ModuleList(_Deformer(c, dropout) for c in ENCODER[:0:-1])
        self.convention = "half-voxel" if released else "exact"

    @classmethod
    def rename(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a published state without its position tables, which depend on the image size."""
        return {n: t for n, t in state.items() if not n.endswith(".position_enc.pos_table")}

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        flow = self._register(moving, fixed)["flow"]
        return flow if self.convention == "exact" else to_exact(flow, self.convention)

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow`, `warped` and `sub_field_{i}`, the Deformers' fields, coarsest first."""
        found = self._register(moving, fixed)
        return {**found, "warped": warp(moving, found["flow"], convention=self.convention)}

    def _register(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        n = len(moving)
        features = [(x[:n], x[n:]) for x in self.backbone(torch.cat([moving, fixed]))]
        fields = [layer(*pair) for layer, pair in zip(self.derlayer, features, strict=True)]
        flow = in_full(self.derlearn(fields, features))
        return {"flow": flow, **{f"sub_field_{i}": field for i, field in enumerate(fields)}}
