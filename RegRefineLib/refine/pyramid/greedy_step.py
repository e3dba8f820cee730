"""The steps of one displacement: force, Adam, smoothing, composition; see descent.py."""

from __future__ import annotations

import torch
from torch import Tensor

from ...ops.filters import gaussian, window_sum
from ...ops.warp import compose, warp
from .settings import Pyramid


class GreedyStep:
    """An image at one resolution, and Adam's moments of the displacement it is seen through.

    Args:
        image: (1, 1, D, H, W).
        metric: smallest voxel edge over each axis's own, (1, 3, 1, 1, 1).
    """

    def __init__(self, image: Tensor, metric: Tensor, options: Pyramid) -> None:
        self.image, self.metric, self.options = image, metric, options
        self.first: Tensor | None = None
        self.second: Tensor | None = None
        self.steps = 0

    def seen(self, displacement: Tensor) -> Tensor:
        """Return the image through a displacement, to be differentiated by."""
        # beyond the image its border goes on: zeros there would be an edge to be matched
        return warp(self.image, displacement, padding="border", quick=True).requires_grad_()

    @torch.no_grad()
    def update(
        self, seen: Tensor, slope: Tensor, rate: float, steer: Tensor | None = None
    ) -> Tensor:
        """Return the step (1, 3, D, H, W) in voxels down the loss.

        Args:
            seen: the image through the displacement.
            slope: derivative of the loss by that.
            rate: length of a step in the smallest voxel edges.
            steer: where else to go, (1, 3, D, H, W): 1 is as strong as the images' mean force.
        """
        force = _gradient(seen).mul_(slope).mul_(self.metric)
        if steer is not None:
            mean = force.norm(dim=1).mean().clamp_min(1e-20)
            force.div_(mean).addcmul_(steer, self.metric, value=-1.0)
        direction = self._adam(_smooth(force, self.options.force_sigma))
        return _smooth(direction, self.options.force_sigma).mul_(-rate * self.metric)

    def moved(self, displacement: Tensor, update: Tensor) -> Tensor:
        """Return the displacement after a step: composed, then smoothed."""
        return _smooth(compose(displacement, update, quick=True), self.options.field_sigma)

    def _adam(self, force: Tensor) -> Tensor:
        """Adam's direction (Kingma 2015); the second moment is that of the force's length."""
        b1, b2 = self.options.momentum, self.options.memory
        length = force.square().sum(dim=1, keepdim=True)
        if self.first is None or self.second is None:
            self.first, self.second = torch.zeros_like(force), torch.zeros_like(length)
        self.steps += 1
        self.first.mul_(b1).add_(force, alpha=1 - b1)
        self.second.mul_(b2).add_(length, alpha=1 - b2)
        scale = (self.second / (1 - b2**self.steps)).sqrt_().add_(1e-10)
        return (self.first / (1 - b1**self.steps)).div_(scale)


def _smooth(field: Tensor, sigma: float) -> Tensor:
    """Return (1, 3, D, H, W) under a Gaussian; nothing moves outside the grid."""
    return window_sum(field, gaussian(sigma)) if sigma > 0 else field


def _gradient(image: Tensor) -> Tensor:
    """Return the central differences (1, 3, D, H, W) of (1, 1, D, H, W); zero on the faces."""
    result = image.new_zeros((1, 3, *image.shape[2:]))
    for axis in range(3):
        n = image.shape[2 + axis]
        if n > 2:
            ahead = image.narrow(2 + axis, 2, n - 2)
            behind = image.narrow(2 + axis, 0, n - 2)
            inner = result[:, axis : axis + 1].narrow(2 + axis, 1, n - 2)
            torch.sub(ahead, behind, out=inner).mul_(0.5)
    return result
