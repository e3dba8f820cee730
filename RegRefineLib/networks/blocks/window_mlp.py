"""CorrMLP's block: correlation, MLPs in windows of three sizes, channel attention.

Meng et al., CVPR 2024. Features are (N, C, D, H, W) between blocks and channels last inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .correlation import shifted_products
from .padding import to_multiples

WINDOWS = (3, 5, 7)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the 27 products of `a` with `b` shifted by -1..1 per axis, averaged over channels.

    (N, C, D, H, W) twice -> (N, 27, D, H, W), the first axis' shift slowest; zeros outside.
    """
    return shifted_products(a, F.pad(b, [1] * 6), 1) / a.shape[1]


def partition(x: Tensor, w: int) -> Tensor:
    """Return (N, D, H, W, C) as windows (N, windows, w^3, C), zeros added at the far ends."""
    n, c = x.shape[0], x.shape[-1]
    x = to_multiples(x, (w, w, w), first=1)
    a, b, d = (size // w for size in x.shape[1:4])
    x = x.view(n, a, w, b, w, d, w, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(n, a * b * d, w**3, c)


def unpartition(windows: Tensor, w: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the windows put back (N, *shape, C), without what was added."""
    n, c = windows.shape[0], windows.shape[-1]
    a, b, d = (-(-size // w) for size in shape)
    x = windows.view(n, a, b, d, w, w, w, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(n, a * w, b * w, d * w, c)
    return x[:, : shape[0], : shape[1], : shape[2]]


class _SpatialGate(nn.Module):
    """One half of the channels times (1 + the other half, mixed over the window's voxels)."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(channels)
        self.Dense_0 = nn.Linear(tokens, tokens)

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.chunk(2, dim=-1)
        v = self.Dense_0(self.LayerNorm(v).transpose(-1, -2)).transpose(-1, -2)
        return u * (v + 1.0)


class _WindowMLP(nn.Module):
    """Gated MLP over the voxels of each cubic window, beside an identity."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.LayerNorm = nn.LayerNorm(channels)
        self.in_project = nn.Linear(channels, 2 * channels)
        self.SpatialGatingUnit = _SpatialGate(channels, window**3)
        self.out_project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        windows = partition(x, self.window)
        y = F.gelu(self.in_project(self.LayerNorm(windows)))
        y = self.out_project(self.SpatialGatingUnit(y)) + windows
        return unpartition(y, self.window, tuple(x.shape[1:4]))  # type: ignore[arg-type]


class _Reweight(nn.Module):
    """Two layers from the mean features to a weight per channel and window size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 4)
        self.fc2 = nn.Linear(channels // 4, channels * len(WINDOWS))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _MultiWindow(nn.Module):
    """The window MLPs of all sizes, weighted per channel, beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(channels)
        for k, window in enumerate(WINDOWS, start=1):
            self.add_module(f"WinGmlpLayer_{k}", _WindowMLP(channels, window))
        self.reweight = _Reweight(channels)
        self.out_project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.LayerNorm(x)
        views = [self.get_submodule(f"WinGmlpLayer_{k}")(y) for k in (1, 2, 3)]
        mean = sum(view.mean(dim=(1, 2, 3)) for view in views)
        weights = self.reweight(mean).unflatten(-1, (-1, len(WINDOWS))).softmax(dim=-1)
        y = sum(view * weights[:, None, None, None, :, k] for k, view in enumerate(views))
        return x + self.out_project(y)


class _ChannelAttention(nn.Module):
    """Channels (N, C, D, H, W) scaled by weights computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Conv_0 = nn.Conv3d(channels, channels // 4, 1)
        self.Conv_1 = nn.Conv3d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.Conv_0(x.mean(dim=(2, 3, 4), keepdim=True)))
        return x * torch.sigmoid(self.Conv_1(y))


class _AttentionBlock(nn.Module):
    """Norm, two convolutions and channel attention beside an identity; channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.channel_attention = _ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.LayerNorm(x).movedim(-1, 1)
        y = self.conv2(F.leaky_relu(self.conv1(y), 0.2))
        return x + self.channel_attention(y).movedim(1, -1)


class CorrelationMLP(nn.Module):
    """Features of a pair (N, channels_in, D, H, W) twice -> (N, channels, D, H, W)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.Conv = nn.Conv3d(2 * channels_in + 27, channels, 3, padding=1)
        self.mlpLayer = _MultiWindow(channels)
        self.channel_attention_block = _AttentionBlock(channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the features of the pair, `a` the one that is not shifted."""
        shortcut = self.Conv(torch.cat([a, correlation(a, b), b], dim=1))
        y = self.channel_attention_block(self.mlpLayer(shortcut.movedim(1, -1)))
        return y.movedim(-1, 1) + shortcut
