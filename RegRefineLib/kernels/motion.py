"""Compiled forces, steps and determinants; asked for by ops/force.py and ops/warp.py."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .door import loops
from .threads import array, spread


def force(image: Tensor, slope: Tensor, metric: tuple[float, float, float]) -> Tensor:
    """Return slope * metric * central differences of the image, (3, D, H, W) of (D, H, W)."""
    out = torch.empty((3, *image.shape))
    factors = np.array(metric, np.float32)
    spread(
        loops("motion").force,
        image.shape[0],
        *(array(image), array(slope), factors, out.numpy()),
    )
    return out


def length_sums(field: Tensor) -> tuple[float, float]:
    """Return the sums of lengths and of squared lengths of (3, D, H, W)."""
    sums = np.empty((field.shape[1], 2))
    spread(loops("motion").length_sums, len(sums), array(field), sums)
    lengths, squares = sums.sum(axis=0)
    return float(lengths), float(squares)


def limited(field: Tensor, least: float) -> Tensor:
    """Return (3, D, H, W) over the larger of its length and `least`."""
    out = torch.empty(field.shape)
    bound = np.float32(least)
    spread(loops("motion").limited, field.shape[1], array(field), bound, out.numpy())
    return out


def determinant(u: Tensor) -> Tensor:
    """Return det(I + grad u), (D, H, W) of (3, D, H, W) with two voxels or more along each axis."""
    out = torch.empty(u.shape[1:])
    spread(loops("motion").determinant, u.shape[1], array(u), out.numpy())
    return out
