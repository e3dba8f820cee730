"""LapWarp, the feature-warping Laplacian pyramid of the MemWarp paper (Zhang et al., MICCAI 2024).

Takes moving before fixed and gives voxels, like the published program. It was made for cardiac
stacks: the last array axis is the slice axis, which is never made coarser. Both images pass one
encoder and one decoder side by side; on every level the moving half of the features is warped, so
that the next level estimates the remaining displacement. The levels' fields are added, not
composed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.warp import integrate, warp
from .base import RegistrationNetwork, Shapes
from .blocks.convnorm import ConvNorm, UpNorm, merge
from .blocks.velocity import in_full

LEVELS = 5
HALVES = (2, 2, 1)  # the step between levels: in the plane alone
Both = Sequence[Tensor]  # features of the moving and of the fixed image


class Conv(nn.Module):
    """3x3x3 convolution, batch norm, PReLU."""

    def __init__(self, a: int, b: int, stride: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        self.layer = ConvNorm((a, b), (3, 3, 3), nn.PReLU(), stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (N, C, D, H, W)."""
        return self.layer(x)


class _Branches(nn.Module):
    """Convolutions of three sizes and, where channels agree, the identity: summed, then PReLU.

    In evaluation they are one convolution of the largest size, in a third of the memory.
    """

    def __init__(self, a: int, b: int, large: Sequence[int]) -> None:
        super().__init__()
        self.keeps = a == b
        self.regular = ConvNorm((a, b), (3, 3, 3))
        self.large = ConvNorm((a, b), tuple(large))
        self.one = ConvNorm((a, b), (1, 1, 1))
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            total = self.regular(x) + self.large(x) + self.one(x)
            return self.prelu(total + x if self.keeps else total)
        weight, bias = merge((self.large, self.regular, self.one), self.keeps)
        return self.prelu(F.conv3d(x, weight, bias, padding=[n // 2 for n in weight.shape[2:]]))


class _LargeKernel(nn.Module):
    """The branches under the published name `layer`."""

    def __init__(self, a: int, b: int, large: Sequence[int]) -> None:
        super().__init__()
        self.layer = _Branches(a, b, large)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class _Up(nn.Module):
    """Transposed convolution that doubles the plane, batch norm, PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = UpNorm((channels, channels), HALVES, nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def _per_axis(flow: Tensor) -> Tensor:
    return flow.new_tensor(HALVES).view(1, 3, 1, 1, 1)


def _enlarge(flow: Tensor) -> Tensor:
    """Return a flow (N, 3, D, H, W) on the grid with twice the plane, in voxels of that grid."""
    larger = F.interpolate(flow, scale_factor=HALVES, mode="trilinear", align_corners=True)
    return larger * _per_axis(flow)


def _warp_moving(features: Both, displacement: Tensor) -> Both:
    """Return the moving image's features warped, and the fixed one's as they are."""
    moving, fixed = features
    return warp(moving, displacement), fixed


class Pyramid(RegistrationNetwork):
    """Encoder, decoder and heads; a subclass says how a head's output becomes a flow.

    Args:
        start_channel: features of the first level.
        large_kernel: size of the largest of the parallel convolutions.
        head_channels: what the heads of levels 0 to 4 give.
    """

    stride = (16, 16, 1)

    def __init__(
        self, start_channel: int, large_kernel: Sequence[int], head_channels: Sequence[int]
    ) -> None:
        super().__init__()
        s = start_channel
        self.eninput, self.ec1 = Conv(1, s), Conv(s, s)
        encoder = ((1, 2), (2, 4), (4, 8), (8, 8))  # channels in and out over s
        for level, (a, b) in enumerate(encoder, start=1):
            self.add_module(f"ec{2 * level}", Conv(a * s, b * s, HALVES))
            self.add_module(f"ec{2 * level + 1}", _LargeKernel(b * s, b * s, large_kernel))
        decoder = ((8, 16, 8, 4), (4, 8, 4, 2), (2, 4, 4, 2), (2, 3, 2, 2))  # up, in, between, out
        for k, (up, a, b, c) in enumerate(decoder, start=1):
            self.add_module(f"up{k}", _Up(up * s))
            self.add_module(f"dc{2 * k - 1}", Conv(a * s, b * s))
            self.add_module(f"dc{2 * k}", _LargeKernel(b * s, c * s, large_kernel))
        for level, out in enumerate(head_channels):
            width = {4: 8, 3: 4}.get(level, 2) * s
            head = nn.Sequential(Conv(2 * width, width), nn.Conv3d(width, out, 3, padding=1))
            self.add_module(f"disp_field_{level}", head)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        first, large = shapes.get("eninput.layer.0.weight"), shapes.get("ec3.layer.large.0.weight")
        if first is None or large is None:
            return {}
        return {"start_channel": first[0], "large_kernel": list(large[2:])}

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return self.fields(moving, fixed)["flow"]

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` and, for levels 0 to 2 (plane / 2^L), `flow_level{L}`, `preint_level{L}`.

        `preint` is the level's flow before it is integrated. A subclass may add its own.
        """
        found: dict[str, Tensor] = {}
        skips = self._encode((moving, fixed))
        x = skips.pop()
        before: Tensor | float = 0.0
        for level in reversed(range(LEVELS)):
            given, still = self._look(level, x)
            given = in_full(self._flow(level, given, still, found))
            flow, increment = self._increment(level, given)
            total = increment + before
            if level < 3:
                found[f"preint_level{level}"] = flow
                found[f"flow_level{level}" if level else "flow"] = total
            if level:
                before = _enlarge(total)
                x = _warp_moving(x, increment)
                x = self._decode(level, x, _warp_moving(skips.pop(), before))
        return found

    def _on_both(self, step: Callable[..., Tensor], *features: Both) -> Both:
        """Return `step` of both images' features.

        In training both are processed at once, so that batch norm covers them together; otherwise
        one after the other, which takes half the memory.
        """
        if self.training:
            return step(*(torch.cat(list(both)) for both in features)).chunk(2)
        return [step(*single) for single in zip(*features, strict=True)]

    def _encode(self, images: Both) -> list[Both]:
        steps = [nn.Sequential(self.eninput, self.ec1)]
        for level in range(1, LEVELS):
            pair = (self.get_submodule(f"ec{2 * level + k}") for k in (0, 1))
            steps.append(nn.Sequential(*pair))
        features = [images]
        for step in steps:
            features.append(self._on_both(step, features[-1]))
        return features[1:]

    def _look(self, level: int, x: Both) -> tuple[Tensor, Tensor]:
        """Return what the level's head gives, and the features of the fixed image."""
        moved, still = x
        head: Any = self.get_submodule(f"disp_field_{level}")
        return head[1](head[0].layer.of_sum_and_difference(still, moved)), still

    def _flow(self, level: int, given: Tensor, still: Tensor, found: dict[str, Tensor]) -> Tensor:
        """Return the flow (N, 3, ...) of a level from what its head gave and the fixed features."""
        raise NotImplementedError

    def _increment(self, level: int, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flow in voxels and the displacement it gives; level 0 is not integrated."""
        flow = flow / _per_axis(flow)
        return flow, integrate(flow) if level else flow

    def _decode(self, level: int, x: Both, skip: Both) -> Both:
        """Return the features of the next finer level."""
        k = LEVELS - level
        up, first, second = (
            self.get_submodule(name) for name in (f"up{k}", f"dc{2 * k - 1}", f"dc{2 * k}")
        )
        return self._on_both(lambda x, skip: second(first(torch.cat([up(x), skip], 1))), x, skip)


class LapWarp(Pyramid):
    """The pyramid whose heads give the flow itself; 34,601,613 parameters by default.

    Args:
        start_channel: features of the first level.
        large_kernel: size of the largest of the parallel convolutions.
    """

    def __init__(self, start_channel: int = 32, large_kernel: Sequence[int] = (5, 5, 3)) -> None:
        super().__init__(start_channel, large_kernel, [3] * LEVELS)
        self.flow = nn.Conv3d(2 * start_channel, 3, 3, padding=1)  # published, and used by nothing
        for level in range(LEVELS):
            for parameter in self.get_submodule(f"disp_field_{level}.1").parameters():
                nn.init.zeros_(parameter)

    def _flow(self, level: int, given: Tensor, still: Tensor, found: dict[str, Tensor]) -> Tensor:
        return given

    def _increment(self, level: int, flow: Tensor) -> tuple[Tensor, Tensor]:
        if level == 2:  # unlike the others, the published program halves this one when integrated
            return flow, integrate(flow) / _per_axis(flow)
        return super()._increment(level, flow)
