"""The weights that U-Nets for registration begin their training with.

What both images share, above all brightness, must not mask their differences: otherwise a network
makes no progress for thousands of steps before it learns any motion.
"""

from __future__ import annotations

import torch
from torch import nn

CONTRAST = 8.0  # 1 / the deviation of the intensities of an image in [0, 1]


@torch.no_grad()
def without_mean(convolution: nn.Conv3d) -> None:
    """Give it He's normal weights (for LeakyReLU 0.2) with each kernel's mean taken off; no bias.

    He's normal weights are Keras's choice for VoxelMorph: with torch's own a signal loses two
    thirds of its variance in each layer.
    """
    nn.init.kaiming_normal_(convolution.weight, a=0.2)
    convolution.weight -= convolution.weight.mean(dim=(1, 2, 3, 4), keepdim=True)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


@torch.no_grad()
def sees_contrast(first: nn.Conv3d, images: int) -> None:
    """Make the first layer's weights fit images in [0, 1], so that its output varies by about 1.

    Args:
        first: of `without_mean`.
        images: how many of its input channels are images; what comes behind them (FiRework's
            displacement, in voxels) keeps its weights.
    """
    seen = first.weight[:, :images]
    seen -= seen.mean(dim=(1, 2, 3, 4), keepdim=True)
    seen *= CONTRAST


def flow_head(channels: int) -> nn.Conv3d:
    """Return the convolution to a displacement's three components; it begins near zero."""
    return near_zero(nn.Conv3d(channels, 3, 3, padding=1))


def near_zero(convolution: nn.Conv3d) -> nn.Conv3d:
    """Return the convolution with weights so small that its output begins near zero; no bias."""
    nn.init.normal_(convolution.weight, std=1e-5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
