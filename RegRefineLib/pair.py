"""The pair that starts and refinements work on: two images on one working grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .geometry import Geometry
from .job import Progress
from .ops.warp import warp

Report = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Ignore a progress report."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving image prepared on one grid: intensities in [0, 1], linear part removed.

    Every tensor is (1, 1, D, H, W) on one device. The moving image has been resampled through the
    linear part, so that only the displacement is left to find. Displacements are (1, 3, D, H, W) in
    voxels of this grid, component c along array axis c, and map fixed voxel x to moving x + u(x).

    Attributes:
        fixed, moving: float32 images.
        geometry: the working grid.
        fixed_mask, moving_mask: 1 inside, 0 outside, or None for everywhere. Without a mask from
            the user, moving_mask is the moving image's field of view, if that does not cover the
            grid.
        fixed_labels, moving_labels: integer label maps for live metrics and label losses, or None.
        initial: the given start as a displacement, or None.
        fixed_points, moving_points: corresponding landmarks (n, 3) in voxels (k, j, i) of this
            grid, the moving ones brought here through the linear part; or None.
    """

    fixed: Tensor
    moving: Tensor
    geometry: Geometry
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    initial: Tensor | None = None
    fixed_points: Tensor | None = None
    moving_points: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes (D, H, W) of the working grid."""
        return self.geometry.shape

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.fixed.device

    def zero(self) -> Tensor:
        """Return the zero displacement, (1, 3, D, H, W)."""
        return torch.zeros((1, 3, *self.shape), device=self.device, dtype=self.fixed.dtype)


def compared(pair: Pair, displacement: Tensor) -> Tensor | None:
    """Return the weights (1, 1, D, H, W) of voxels within both images' masks; None: all are 1.

    The moving image's mask is warped by `displacement`, the start, once for the whole run.
    """
    masks = [] if pair.fixed_mask is None else [pair.fixed_mask]
    if pair.moving_mask is not None:
        masks.append(warp(pair.moving_mask, displacement.detach()))
    return math.prod(masks[1:], start=masks[0]) if masks else None


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined displacement (1, 3, D, H, W) in voxels and one record per step.

    `remarks` are sentences that a reader of the result needs to know.
    """

    displacement: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_because: str = ""
    remarks: tuple[str, ...] = ()
