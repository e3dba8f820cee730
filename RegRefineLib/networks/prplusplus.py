"""PR++, the dual-stream pyramid (Kang et al., MedIA 2022), as the SMILE lab rewrote it.

The version behind that lab's published comparisons; the authors' own is prplusplus_official. Both
images pass one U-Net; on each of five levels the moving features are warped by the field so far and
correlated with the fixed ones, and a further flow is estimated from both and the correlation. Takes
moving before fixed and gives voxels.

One detail differs from the published program and is restored by `released=True`: when the
accumulated field meets a flow of twice the resolution, the published program samples it there
without doubling it, so that coarse flows enter the result at 1/2 to 1/8 of their size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.filters import box3
from ..ops.warp import compose, identity, warp
from .base import TracingNetwork
from .blocks.correlation import shifted_products
from .blocks.initial_weights import flow_head
from .blocks.velocity import in_full, rescale

ENCODER = (1, 8, 16, 16, 32, 32)  # channels of the image and at full size, 1/2, 1/4, 1/8, 1/16
PYRAMID = (32, 32, 16, 16, 8)  # of the levels at 1/8, 1/4, 1/2 and twice full size
REACH = 2  # of the correlation, in voxels: -2, 0, 2 along each axis


class _Conv(nn.Module):
    """3x3x3 convolution and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Conv3d(channels_in, channels_out, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for i, pair in enumerate(pairwise(ENCODER)):
            self.add_module(f"block{i + 1}", _Conv(*pair, stride=2 if i else 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features from full to 1/16 size."""
        features = []
        for block in self.children():
            x = block(x)
            features.append(x)
        return features


class _Up(nn.Module):
    """Nearest x2, the skipped features behind it, convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.Conv = _Conv(channels_in, channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.Conv(torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1))


class _Pyramid(nn.Module):
    """The U-Net whose decoder gives the features of the five levels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        width = ENCODER[-1]
        for i, (channels, skip) in enumerate(zip(PYRAMID[:4], ENCODER[-2:0:-1], strict=True)):
            self.add_module(f"decoder{i + 1}", _Up(width + skip, channels))
            width = channels
        self.decoder5 = _Conv(width, PYRAMID[4])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of the levels, coarsest first."""
        *skips, x = self.encoder(image)
        levels = []
        for i in range(4):
            x = self.get_submodule(f"decoder{i + 1}")(x, skips[-1 - i])
            levels.append(x)
        return [*levels, self.decoder5(x)]


class _Block(nn.Module):
    """The flow of one level from moving and fixed features and their correlation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = 2 * channels + 27
        self.conv1 = _pair(width, width, channels)
        self.conv2 = _pair(channels, channels, channels)
        self.flow = flow_head(channels)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return (N, 3, d, h, w) in voxels of the level."""
        x = F.relu(self.conv1(torch.cat([moving, correlate(moving, fixed), fixed], dim=1)))
        return in_full(self.flow(x + F.relu(self.conv2(x))))


def _pair(a: int, b: int, c: int) -> nn.Sequential:
    """Return two 3x3x3 convolutions with nothing between them."""
    return nn.Sequential(nn.Conv3d(a, b, 3, padding=1), nn.Conv3d(b, c, 3, padding=1))


def correlate(moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the correlation (N, 27, d, h, w) of 3^3 boxes of features (N, C, d, h, w).

    Channel o, the first axis slowest, holds box(moving)(x) . box(fixed)(x + o) / 27 for offsets of
    -2, 0 and 2 voxels along each axis; zeros lie outside the features.
    """
    m = box3(moving)  # means: the product of two lacks 27^2
    f = box3(F.pad(fixed, [REACH] * 6))
    return shifted_products(m, f, REACH) * 27


class PRPlusPlus(TracingNetwork):
    """The dual-stream pyramid of the SMILE lab; 1,236,965 parameters.

    Args:
        released: do not double fields where the resolution doubles, as published (see above).
    """

    stride = 16

    def __init__(self, released: bool = False) -> None:
        super().__init__()
        self.net = _Pyramid()
        for i, channels in enumerate(PYRAMID):
            self.add_module(f"prblock{i + 1}", _Block(channels))
        self.released = released

    def found(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` and `block{k}_flow`, the flow found on level k (1 is 1/8)."""
        found: dict[str, Tensor] = {}
        levels = [*zip(self.net(moving), self.net(fixed), strict=True)]
        found["block1_flow"] = flow = self.get_submodule("prblock1")(*levels[0])
        for level, (moved, still) in enumerate(levels[1:], start=2):
            finer = flow.shape[2:] != moved.shape[2:]
            up = rescale(flow, 2) if finer else flow
            w = self.get_submodule(f"prblock{level}")(warp(moved, up), still)
            found[f"block{level}_flow"] = w
            if finer and self.released:
                flow = _sampled_at_coarse(flow, w) + w
            else:
                flow = compose(up, w, padding="zeros")
        return {"flow": flow, **found}


def _sampled_at_coarse(flow: Tensor, w: Tensor) -> Tensor:
    """Return the coarse `flow`, not rescaled, at the positions x + w(x) of the finer grid."""
    x = identity(tuple(w.shape[2:]), w)  # type: ignore[arg-type]
    sizes = zip(flow.shape[2:], w.shape[2:], strict=True)
    scale = w.new_tensor([(coarse - 1) / (fine - 1) for coarse, fine in sizes])
    return warp(flow, (x + w) * scale.view(1, 3, 1, 1, 1) - x)
