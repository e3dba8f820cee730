"""Corresponding landmarks as forces, which bring the points of each pair together.

Each pair of points contributes the displacement that still separates them, limited to the length of
one step. A Gaussian of a few voxels spreads it to the neighbourhood, and where several points are
near, their weighted mean is taken (normalised convolution, Knutsson 1993), so that a step is never
longer than that of its points and stays invertible. Near a point this step replaces that of the
images: both together would overshoot.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...ops.filters import gaussian, window_sum
from ...ops.warp import sample

SIGMA = 2.5  # voxels of the level


class LandmarkForce:
    """The force of points on the fields of one level.

    Args:
        fixed, moving: (n, 3) in voxels (k, j, i) of the level's grid; both lists in one order.
        shape: of the grid.

    Attributes:
        share: (1, 1, D, H, W), from 0 far from all points to 1 at them.
    """

    def __init__(self, fixed: Tensor, moving: Tensor, shape: tuple[int, int, int]) -> None:
        last = fixed.new_tensor(shape) - 1
        inside = ((fixed >= 0) & (fixed <= last)).all(dim=1)
        self.fixed, self.moving = fixed[inside], moving[inside]
        self.shape = shape
        self.kernel = gaussian(SIGMA)
        k, j, i = self.fixed.round().long().unbind(dim=1)
        self.places = (k * shape[1] + j) * shape[2] + i
        peak = max(self.kernel) ** 3
        weights = self._spread(fixed.new_ones((len(self.fixed), 1)))
        self.scale = weights.clamp_min(peak).reciprocal_()
        self.share = weights.mul_(self.scale)

    @torch.no_grad()
    def update(self, displacement: Tensor, longest: float) -> Tensor:
        """Return the step (1, 3, D, H, W) in voxels towards the moving points.

        Args:
            displacement: the current one, (1, 3, D, H, W) in voxels.
            longest: length of a step in voxels.
        """
        missing = self.moving - self.fixed - at_points(displacement, self.fixed)
        length = missing.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return self._spread(missing * (longest / length).clamp(max=1.0)).mul_(self.scale)

    def _spread(self, values: Tensor) -> Tensor:
        """Return (1, c, D, H, W): the points' values (n, c), each under a Gaussian."""
        grid = values.new_zeros((values.shape[1], self.shape[0] * self.shape[1] * self.shape[2]))
        grid.index_add_(1, self.places, values.T.contiguous())
        return window_sum(grid.view(1, -1, *self.shape), self.kernel)


def at_points(displacement: Tensor, points: Tensor) -> Tensor:
    """Return the displacement (1, 3, D, H, W) at points (n, 3), all in voxels (k, j, i)."""
    positions = points.T.reshape(1, 3, 1, 1, -1)
    return sample(displacement, positions, padding="border")[0, :, 0, 0].T


def inverse_points(displacement: Tensor, points: Tensor, rounds: int = 30) -> Tensor:
    """Return the points (n, 3) in voxels that a displacement takes to the given ones."""
    found = points
    for _ in range(rounds):
        found = 0.5 * (found + points - at_points(displacement, found))
    return found
