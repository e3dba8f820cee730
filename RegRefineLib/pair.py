"""The pair that starts and refinements work on: two images on one working grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import Geometry
from .job import Progress

Report = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Take a report and do nothing with it."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Fixed and moving image on one grid, prepared: intensities in [0, 1], affine taken out.

    Every tensor is (1, 1, D, H, W) on one device. The moving image has been resampled through the
    linear part, so that only the displacement is left to find. Displacements are (1, 3, D, H, W) in
    voxels of this grid, component c along array axis c, and map fixed voxel x to moving x + u(x).

    Attributes:
        fixed, moving: float32 images.
        geometry: the working grid.
        fixed_mask, moving_mask: 1 inside, 0 outside, or None for everywhere. Without a mask of the
            user's, the moving one says where the moving image lies if that is not everywhere.
        fixed_labels, moving_labels: integer label maps for live figures and label losses, or None.
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
        """Where the tensors live."""
        return self.fixed.device

    def zero(self) -> Tensor:
        """Return the displacement that moves nothing, (1, 3, D, H, W)."""
        return torch.zeros((1, 3, *self.shape), device=self.device, dtype=self.fixed.dtype)
