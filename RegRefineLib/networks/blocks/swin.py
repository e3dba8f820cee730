"""The Swin encoder of TransMorph: window attention on 3-D tokens (Liu et al., ICCV 2021).

Tokens are kept as (N, D, H, W, C), components of windows and shifts along the array axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .padding import to_multiples
from .stochastic_depth import StochasticDepth

# order in which patch merging stacks the eight corners of a 2x2x2 block; digits are axis offsets
CORNERS = (
    (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)
)  # fmt: skip


def _to_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """Return (N * windows, tokens of a window, C) of (N, D, H, W, C)."""
    n, d, h, w, c = x.shape
    a, b, e = window
    x = x.view(n, d // a, a, h // b, b, w // e, e, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, a * b * e, c)


def _from_windows(x: Tensor, window: Sequence[int], shape: torch.Size) -> Tensor:
    """Return (N, D, H, W, C) of `_to_windows`."""
    n, d, h, w, c = shape
    a, b, e = window
    x = x.view(n, d // a, h // b, w // e, a, b, e, c)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


def relative_position_index(window: Sequence[int]) -> Tensor:
    """Return for each pair of a window's tokens its row in the bias table, (tokens, tokens)."""
    axes = torch.meshgrid(*(torch.arange(n) for n in window), indexing="ij")
    place = torch.stack(axes).flatten(1)
    offset = place[:, :, None] - place[:, None, :]
    rows = torch.zeros_like(offset[0])
    for axis, n in enumerate(window):
        rows = rows * (2 * n - 1) + offset[axis] + n - 1
    return rows


def shift_mask(shape: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """Return (windows, 1, tokens, tokens): -100 between tokens made adjacent only by the roll."""
    region = torch.zeros((1, *shape, 1))
    cuts = [(slice(-w), slice(-w, -s), slice(-s, None)) for w, s in zip(window, shift, strict=True)]
    for number, (a, b, c) in enumerate(product(*cuts)):
        region[:, a, b, c] = number
    labels = _to_windows(region, window).squeeze(-1)
    return -100.0 * (labels[:, None, :, None] != labels[:, None, None, :])


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias per relative position."""

    def __init__(self, channels: int, window: Sequence[int], heads: int) -> None:
        super().__init__()
        self.heads = heads
        rows = prod(2 * n - 1 for n in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return (N * windows, tokens, C); `mask` (windows, 1, tokens, tokens) is added."""
        count, tokens, channels = x.shape
        q, k, v = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        index: Tensor = self.relative_position_index  # type: ignore[assignment]
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None].to(q.dtype)
        if mask is not None:
            bias = (bias + mask.to(bias)).repeat(count // len(mask), 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(count, tokens, channels))


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new channels (..., C) of `x`."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); odd blocks shift their windows."""

    def __init__(
        self, channels: int, window: Sequence[int], heads: int, shifted: bool, drop: float
    ) -> None:
        super().__init__()
        self.window = tuple(window)
        shift = tuple(n // 2 for n in window) if shifted else (0, 0, 0)
        # a window of one voxel along any axis switches all shifting off, as published
        self.shift = shift if min(shift) > 0 else None
        self.drop_path = StochasticDepth(drop)
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, 4 * channels)

    def _attention(self, x: Tensor) -> Tensor:
        size = x.shape
        x = to_multiples(x, self.window, first=1)
        mask = None
        if self.shift:
            back = tuple(-s for s in self.shift)
            x = torch.roll(x, back, (1, 2, 3))
            mask = shift_mask(x.shape[1:4], self.window, self.shift).to(x.device)
        x = _from_windows(self.attn(_to_windows(x, self.window), mask), self.window, x.shape)
        if self.shift:
            x = torch.roll(x, self.shift, (1, 2, 3))
        return x[:, : size[1], : size[2], : size[3]]

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape (N, D, H, W, C)."""
        x = x + self.drop_path(self._attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Halve the grid: the eight tokens of a block become one of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(8 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(8 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, D/2, H/2, W/2, 2C); odd sizes get a slice of zeros behind."""
        x = to_multiples(x, (2, 2, 2), first=1)
        corners = [x[:, a::2, b::2, c::2] for a, b, c in CORNERS]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class _Stage(nn.Module):
    def __init__(
        self,
        channels: int,
        window: Sequence[int],
        heads: int,
        drops: Sequence[float],
        last: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(SwinBlock(channels, window, heads, i % 2 == 1, p) for i, p in enumerate(drops))
        )
        self.downsample = None if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class _PatchEmbedding(nn.Module):
    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, embed, 4, 4)
        self.norm = nn.LayerNorm(embed)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(to_multiples(x, (4, 4, 4))).permute(0, 2, 3, 4, 1))


class SwinEncoder(nn.Module):
    """Four stages at 1/4 to 1/32 of the image; `embed` * 2^i channels.

    Args:
        depths, heads: blocks and heads per stage.
        window: window size along (D, H, W).
        drop_path: stochastic depth of the last block; a linear ramp from 0 at the first.
        channels: of the input.
    """

    def __init__(
        self,
        embed: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: Sequence[int],
        drop_path: float,
        channels: int = 2,
    ) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(channels, embed)
        drops = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        ends = [sum(depths[:i]) for i in range(len(depths) + 1)]
        self.layers = nn.ModuleList()
        for i, (start, end) in enumerate(pairwise(ends)):
            last = i == len(depths) - 1
            stage = _Stage(embed * 2**i, window, heads[i], drops[start:end], last)
            self.layers.append(stage)
            self.add_module(f"norm{i}", nn.LayerNorm(embed * 2**i))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return each stage's output as a volume (N, C_i, D_i, H_i, W_i)."""
        x = self.patch_embed(x)
        volumes = []
        for i, stage in enumerate(self.layers):
            x = stage(x)
            volumes.append(self.get_submodule(f"norm{i}")(x).permute(0, 4, 1, 2, 3))
            if i + 1 < len(self.layers):
                x = stage.get_submodule("downsample")(x)
        return volumes
