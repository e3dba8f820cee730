"""Flows at another resolution and stationary velocities, as VoxelMorph's family reads them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.warp import integrate


def in_full(flow: Tensor) -> Tensor:
    """Return a flow in at least float32: convolutions tolerate less precision, positions do not."""
    return flow.to(torch.promote_types(flow.dtype, torch.float32))


def rescale(flow: Tensor, factor: float) -> Tensor:
    """Return a flow (N, 3, D, H, W) resized by `factor`, in voxels of the new grid.

    Trilinear with the outermost voxels' centres aligned (align_corners=True), which is VoxelMorph's
    reading; warp.resize aligns the voxels' edges instead. Enlarging multiplies before it resizes
    and shrinking after, so that rounding follows the published program.
    """
    if factor > 1:
        flow = flow * factor
    flow = F.interpolate(flow, scale_factor=factor, mode="trilinear", align_corners=True)
    return flow if factor > 1 else flow * factor


def exponential(velocity: Tensor, steps: int, enlarge: float = 1) -> Tensor:
    """Return exp(velocity) by scaling and squaring, then enlarged by a factor, in voxels."""
    displacement = integrate(velocity, steps)
    return rescale(displacement, enlarge) if enlarge != 1 else displacement
