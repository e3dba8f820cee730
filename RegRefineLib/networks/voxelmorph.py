"""VoxelMorph (Balakrishnan et al., CVPR 2018, TMI 2019) in its three layouts.

All take moving before fixed and give voxels, like the published programs. `VoxelMorph` is the
classic max-pooling U-Net, `VoxelMorphStrided` the one that the TransMorph paper calls VoxelMorph-1
and -2, `VoxelMorphPairwise` that of the package since 0.3. Only the classic one integrates at half
resolution by default; a pure displacement is `int_steps=0`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RegRefineError
from ..ops.warp import warp
from .base import RegistrationNetwork, Shapes
from .blocks.initial_weights import flow_head, sees_contrast, without_mean
from .blocks.velocity import exponential, rescale

ENCODER = (16, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)


class _Conv(nn.Module):
    """3x3x3 convolution and LeakyReLU 0.2, called `main` in the published state."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Conv3d(channels_in, channels_out, 3, stride, 1)
        without_mean(self.main)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.main(x), 0.2)


def _double(x: Tensor, skip: Tensor) -> Tensor:
    """Return nearest-neighbour x2 of `x`, with `skip` behind it."""
    return torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1)


def _widths(shapes: Shapes, pattern: str) -> list[int]:
    """Return the output features of the weights whose whole name fits `pattern`, in order."""
    found = {
        int(match.group(1)): shape[0]
        for name, shape in shapes.items()
        if (match := re.fullmatch(pattern + r"\.weight", name))
    }
    return [found[i] for i in sorted(found)]


class _PoolingUNet(nn.Module):
    """U-Net with max pooling; the skips are the convolutions before each pooling."""

    def __init__(
        self,
        encoder: Sequence[int],
        decoder: Sequence[int],
        ends_halfway: bool,
        channels: int,
    ) -> None:
        super().__init__()
        levels = len(encoder)
        widths = [channels, *encoder]
        convolutions = [_Conv(a, b) for a, b in zip(widths, encoder, strict=False)]
        sees_contrast(convolutions[0].main, 2 if channels == 2 else channels - 3)
        self.encoder = nn.ModuleList(nn.Sequential(convolution) for convolution in convolutions)
        self.ends_halfway = ends_halfway
        self.decoder = nn.ModuleList()
        width = encoder[-1]
        for level, out in enumerate(decoder[:levels]):
            self.decoder.append(nn.Sequential(_Conv(width, out)))
            width = out + (encoder[levels - 1 - level] if self._doubles(level) else 0)
        self.remaining = nn.ModuleList()
        for out in decoder[levels:]:
            self.remaining.append(_Conv(width, out))
            width = out
        self.width = width

    def _doubles(self, level: int) -> bool:
        return not (self.ends_halfway and level == len(self.encoder) - 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for conv in self.encoder:
            skips.append(conv(x))
            x = F.max_pool3d(skips[-1], 2)
        for level, conv in enumerate(self.decoder):
            x = conv(x)
            if self._doubles(level):
                x = _double(x, skips.pop())
        for conv in self.remaining:
            x = conv(x)
        return x


class VoxelMorph(RegistrationNetwork):
    """The classic VoxelMorph, torch layout of voxelmorph 0.2; 327,331 parameters by default.

    Args:
        encoder, decoder: features; the decoder's beyond the encoder's number are the last layers at
            full size. The paper's vxm-1 is (8, 32, 32, 32) and (32, 32, 32, 32, 32, 8, 8).
        int_steps: squarings of the integration; 0 makes the output the displacement itself.
        int_downsize: 2 integrates at half resolution, 1 at full.
        half_resolution: end the U-Net at half resolution instead of shrinking its flow; without
            integration the flow is enlarged (no published weights are of that kind).
        channels: of the input; 2, or images and behind them the three of a displacement, which go
            through `flow_of` (see firework.py).

    Raises:
        RegRefineError: options that do not fit each other.
    """

    def __init__(
        self,
        encoder: Sequence[int] = ENCODER,
        decoder: Sequence[int] = DECODER,
        int_steps: int = 0,
        int_downsize: int = 2,
        half_resolution: bool = False,
        channels: int = 2,
    ) -> None:
        super().__init__()
        if len(decoder) < len(encoder):
            raise RegRefineError(
                f"voxelmorph: decoder needs at least {len(encoder)} features, got {len(decoder)}"
            )
        if int_downsize not in (1, 2):
            raise RegRefineError(f"voxelmorph: int_downsize is 1 or 2, got {int_downsize}")
        if half_resolution and int_downsize != 2:
            raise RegRefineError("voxelmorph: half_resolution needs int_downsize 2")
        self.int_steps, self.int_downsize = int_steps, int_downsize
        self.half_resolution = half_resolution
        self.stride = 2 ** len(encoder)
        self.unet_model = _PoolingUNet(encoder, decoder, half_resolution, channels)
        self.flow = flow_head(self.unet_model.width)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor options of a published file.

        Features come from the shapes; how the flow is integrated does not show in them and comes
        from the constructor arguments, if a torch or Keras file contains them.
        """
        unet = r"unet_model\.{}\.(\d+)\.{}main"
        options: dict[str, Any] = {
            "encoder": _widths(shapes, unet.format("encoder", r"0\.")),
            "decoder": _widths(shapes, unet.format("decoder", r"0\."))
            + _widths(shapes, unet.format("remaining", "")),
        }
        names = {"int_steps": "int_steps", "int_downsize": "int_downsize"}
        names["unet_half_res"] = "half_resolution"
        for theirs, ours in names.items():
            if isinstance(config.get(theirs), (bool, int)):
                options[ours] = config[theirs]
        return options

    @classmethod
    def rename(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the state under torch names, where a Keras file names its layers otherwise.

        Keras numbers the decoder from the finest level, torch from the coarsest.
        """
        levels = sum(bool(re.search(r"enc_conv_\d+_0/kernel$", name)) for name in state)
        renamed = {}
        for name, tensor in state.items():
            layer, _, kind = name.rpartition("/")
            parameter = {"kernel": "weight", "bias": "bias"}.get(kind)
            numbers = [int(n) for n in re.findall(r"_(\d+)", layer)]
            if parameter is None:
                target = name
            elif "enc_conv" in layer:
                target = f"unet_model.encoder.{numbers[0]}.{numbers[1]}.main.{parameter}"
            elif "final_conv" in layer:
                target = f"unet_model.remaining.{numbers[0]}.main.{parameter}"
            elif "dec_conv" in layer:
                level = levels - 1 - numbers[0]
                target = f"unet_model.decoder.{level}.{numbers[1]}.main.{parameter}"
            else:
                target = f"flow.{parameter}" if layer.endswith("flow") else name
            renamed[target] = tensor
        return renamed

    def flow_of(self, channels: Tensor) -> Tensor:
        """Return the U-Net's flow (N, 3, D, H, W) of its input (N, channels, D, H, W)."""
        return self.flow(self.unet_model(channels)).to(channels.dtype)

    def velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return what is integrated and, in training, regularised (the "pre-integration flow").

        With int_steps 0 it is the displacement, at the resolution at which the U-Net ends.
        """
        flow = self.flow_of(torch.cat([moving, fixed], dim=1))
        if self.int_steps and self.int_downsize > 1 and not self.half_resolution:
            flow = rescale(flow, 1 / self.int_downsize)
        return flow

    def displacement(self, velocity: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) of a velocity; of its negative, the inverse."""
        if not self.int_steps:
            return rescale(velocity, 2) if self.half_resolution else velocity
        return exponential(velocity, self.int_steps, self.int_downsize)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return self.displacement(self.velocity(moving, fixed))

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return flow, preint_flow, warped, and both directions where there is a velocity."""
        velocity = self.velocity(moving, fixed)
        flow = self.displacement(velocity)
        warped = warp(moving, flow)
        found = {"flow": flow, "preint_flow": velocity, "warped": warped}
        if self.int_steps:
            backward = self.displacement(-velocity)
            found |= {"warped_source": warped, "warped_target": warp(fixed, backward)}
        return found


class _StridedUNet(nn.Module):
    """U-Net whose encoder halves by strided convolutions; the finest skip is the input itself."""

    def __init__(self, encoder: Sequence[int], decoder: Sequence[int]) -> None:
        super().__init__()
        widths = [2, *encoder]
        levels = len(encoder)
        self.downarm = nn.ModuleList(_Conv(a, b, 2) for a, b in zip(widths, encoder, strict=False))
        self.uparm = nn.ModuleList()
        width = encoder[-1]
        for level, out in enumerate(decoder[:levels]):
            self.uparm.append(_Conv(width, out))
            width = out + widths[levels - 1 - level]
        self.extras = nn.ModuleList()
        for out in decoder[levels:]:
            self.extras.append(_Conv(width, out))
            width = out
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for conv in self.downarm:
            skips.append(conv(skips[-1]))
        x = skips.pop()
        for conv in self.uparm:
            x = _double(conv(x), skips.pop())
        for conv in self.extras:
            x = conv(x)
        return x


class VoxelMorphStrided(RegistrationNetwork):
    """VoxelMorph-2 of the TransMorph repository; 301,411 parameters.

    VoxelMorph-1 (274,387) is encoder (8, 32, 32, 32), decoder (32, 32, 32, 32, 32, 8, 8).
    """

    def __init__(self, encoder: Sequence[int] = ENCODER, decoder: Sequence[int] = DECODER) -> None:
        super().__init__()
        if len(decoder) < len(encoder):
            raise RegRefineError(
                f"voxelmorph: decoder needs at least {len(encoder)} features, got {len(decoder)}"
            )
        self.stride = 2 ** len(encoder)
        self.unet_model = _StridedUNet(encoder, decoder)
        self.flow = flow_head(self.unet_model.width)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features that a file's shapes show."""
        unet = r"unet_model\.{}\.(\d+)\.main"
        up = _widths(shapes, unet.format("uparm")) + _widths(shapes, unet.format("extras"))
        return {"encoder": _widths(shapes, unet.format("downarm")), "decoder": up}

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return self.flow(self.unet_model(torch.cat([moving, fixed], dim=1))).to(moving.dtype)
