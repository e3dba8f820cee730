"""Fourier-Net (Jia et al., AAAI 2023) and Fourier-Net+ (arXiv 2307.02997).

A network predicts a displacement at a quarter of the resolution; padding its spectrum with zeros
gives the full size without parameters. The published programs give normalised units (a grid from
-1 to 1 between the outermost voxels' centres) and work for one pair at a time; here the result is
in voxels and any batch goes. Image sizes are multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.warp import integrate, warp
from .base import RegistrationNetwork, Shapes

AXES = (-3, -2, -1)


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels_in, channels_out, 3, stride, 1), nn.PReLU())


def _up(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose3d(channels, channels, 2, 2), nn.PReLU())


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, 3, 3, padding=1, bias=False))


def spectral_resize(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return x (N, C, D, H, W) with its centred spectrum padded or cropped to `shape`, real part.

    Values are not corrected for the change of size: enlarging n times divides them by n^3.
    """
    spectrum = torch.fft.fftshift(torch.fft.fftn(x, dim=AXES), dim=AXES)
    margins = [(new - old) // 2 for new, old in zip(shape, x.shape[2:], strict=True)]
    d, h, w = margins
    spectrum = nn.functional.pad(spectrum, (w, w, h, h, d, d))
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=AXES), dim=AXES).real


class _BandLimited(RegistrationNetwork):
    """What both networks share: from the low-resolution output to the displacement."""

    stride = 16

    def __init__(self, int_steps: int) -> None:
        super().__init__()
        self.int_steps = int_steps

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the start channels that a file's shapes show."""
        first = [shape for name, shape in shapes.items() if name.endswith("eninput.0.weight")]
        return {"start_channels": first[0][0]} if first else {}

    def low_resolution(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the network's own output (N, 3, D/4, H/4, W/4)."""
        raise NotImplementedError

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        shape = tuple(moving.shape[2:])
        low = self.low_resolution(moving, fixed).to(moving.dtype)
        flow = spectral_resize(low, shape) * voxels_per_unit(moving)
        return integrate(flow, self.int_steps, padding="border") if self.int_steps else flow

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return lowres, flow_normalised, warped, and diff_*: the same taken as a velocity."""
        low = self.low_resolution(moving, fixed)
        normalised = spectral_resize(low, tuple(moving.shape[2:]))
        unit = voxels_per_unit(moving)
        exponential = integrate(normalised * unit, 7, padding="border")
        return {
            "lowres": low,
            "flow_normalised": normalised,
            "warped": warp(moving, normalised * unit),
            "diff_flow_normalised": exponential / unit,
            "diff_warped": warp(moving, exponential),
        }


def voxels_per_unit(image: Tensor) -> Tensor:
    """Return (1, 3, 1, 1, 1): voxels per normalised unit, (N - 1) / 2 along each axis."""
    return ((image.new_tensor(image.shape[2:]) - 1) / 2).view(1, 3, 1, 1, 1)


class FourierNet(_BandLimited):
    """Fourier-Net; 4,449,974 parameters with 16 start channels, 1,113,766 with 8.

    Args:
        start_channels: features at full resolution (16 is the paper's, 8 its small version).
        int_steps: 7 is the diffeomorphic variant: the field is a velocity, squared so many times.

    r_dc5 to r_dc8, r_up3 and r_up4 are in the published state but never called.
    """

    def __init__(self, start_channels: int = 16, int_steps: int = 0) -> None:
        super().__init__(int_steps)
        c = start_channels
        self.eninput = _conv(2, c)
        self.ec1 = _conv(c, c)
        self.ec2 = _conv(c, 2 * c, 2)
        self.ec3 = _conv(2 * c, 2 * c)
        self.ec4 = _conv(2 * c, 4 * c, 2)
        self.ec5 = _conv(4 * c, 4 * c)
        self.ec6 = _conv(4 * c, 8 * c, 2)
        self.ec7 = _conv(8 * c, 8 * c)
        self.ec8 = _conv(8 * c, 16 * c, 2)
        self.ec9 = _conv(16 * c, 8 * c)
        self.r_dc1 = _conv(16 * c, 8 * c)
        self.r_dc2 = _conv(8 * c, 4 * c)
        self.r_dc3 = _conv(8 * c, 4 * c)
        self.r_dc4 = _conv(4 * c, 2 * c)
        self.r_dc5 = _conv(4 * c, 4 * c)
        self.r_dc6 = _conv(4 * c, 2 * c)
        self.r_dc7 = _conv(3 * c, 2 * c)
        self.r_dc8 = _conv(2 * c, 2 * c)
        self.rr_dc9 = _head(2 * c)
        self.r_up1 = _up(8 * c)
        self.r_up2 = _up(4 * c)
        self.r_up3 = _up(2 * c)
        self.r_up4 = _up(2 * c)

    def low_resolution(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the network's own output (N, 3, D/4, H/4, W/4)."""
        full = self.ec1(self.eninput(torch.cat([moving, fixed], dim=1)))
        quarter = self.ec5(self.ec4(self.ec3(self.ec2(full))))
        eighth = self.ec7(self.ec6(quarter))
        x = self.r_up1(self.ec9(self.ec8(eighth)))
        x = self.r_dc2(self.r_dc1(torch.cat([x, eighth], dim=1)))
        x = self.r_dc4(self.r_dc3(torch.cat([self.r_up2(x), quarter], dim=1)))
        return self.rr_dc9(x)


class _PlusStage(nn.Module):
    """The network of Fourier-Net+ on band-limited images: no skip connections."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.eninput = _conv(2, c)
        self.ec1 = _conv(c, c)
        self.ec2 = _conv(c, 2 * c, 2)
        self.ec3 = _conv(2 * c, 2 * c)
        self.ec4 = _conv(2 * c, 4 * c, 2)
        self.ec5 = _conv(4 * c, 4 * c)
        self.ec6 = _conv(4 * c, 8 * c, 2)
        self.ec7 = _conv(8 * c, 4 * c)
        self.dc1 = _conv(4 * c, 4 * c)
        self.dc2 = _conv(4 * c, 2 * c)
        self.dc3 = _conv(2 * c, c)
        self.dc9 = _head(c)
        self.up1 = _up(4 * c)
        self.up2 = _up(2 * c)

    def forward(self, images: Tensor) -> Tensor:
        x = self.ec3(self.ec2(self.ec1(self.eninput(images))))
        x = self.ec7(self.ec6(self.ec5(self.ec4(x))))
        x = self.dc2(self.dc1(self.up1(x)))
        return self.dc9(self.dc3(self.up2(x)))


class FourierNetPlus(_BandLimited):
    """Fourier-Net+ with one stage; 880,109 parameters with 16 start channels, 220,733 with 8.

    The images are cut to the central half of their spectrum first, which makes their values 8
    times larger: part of what the published weights expect.
    """

    def __init__(self, start_channels: int = 16, int_steps: int = 0) -> None:
        super().__init__(int_steps)
        self.net1 = _PlusStage(start_channels)

    def band_limited(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return both images (N, 2, D/2, H/2, W/2), moving first."""
        images = torch.cat([moving, fixed], dim=1)
        half = tuple(n // 2 for n in images.shape[2:])
        return spectral_resize(images, half)

    def low_resolution(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the network's own output (N, 3, D/4, H/4, W/4)."""
        return self.net1(self.band_limited(moving, fixed))

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return the shared fields and bandlimited_inputs."""
        images = self.band_limited(moving, fixed)
        return {**super().fields(moving, fixed), "bandlimited_inputs": images}
