"""The steps of one displacement: force, its limit, smoothing, composition; see descent.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.filters import gaussian, window_sum
from ...ops.force import compositive_force, limited, typical_length
from ...ops.volume_change import evening_step
from ...ops.warp import compose, warp
from .settings import Pyramid

NOTHING = 1e-7  # voxels
LEAST_FORCE = 1e-12  # squares of smaller values underflow in float32


class GreedyStep:
    """An image at one resolution, and the steps of the displacement that it is warped by.

    Args:
        image: (1, 1, D, H, W).
        metric: smallest voxel edge over each axis's own, (1, 3, 1, 1, 1).
    """

    def __init__(self, image: Tensor, metric: Tensor, options: Pyramid) -> None:
        self.image, self.metric, self.options = image, metric, options

    def warped(self, displacement: Tensor) -> Tensor:
        """Return the warped image as a variable to differentiate with respect to."""
        # the border is repeated outwards: zeros would be an edge to match
        return warp(self.image, displacement, padding="border", quick=True).requires_grad_()

    @torch.no_grad()
    def update(
        self, warped: Tensor, slope: Tensor, rate: float, guide: Tensor | None = None
    ) -> Tensor:
        """Return the step (1, 3, D, H, W) in voxels down the loss.

        Args:
            warped: the image through the displacement.
            slope: derivative of the loss by that.
            rate: length of the longest step in the smallest voxel edges.
            guide: the labels' force, (1, 3, D, H, W), in units of the images' mean force.
        """
        # the gradient of a mean is tiny in large volumes: scaled by their voxels, its squares
        # survive
        force = compositive_force(warped.detach(), slope * slope.numel(), self.metric)
        if guide is not None:
            force.div_(force.norm(dim=1).mean().clamp_min(1e-20))
        force = _smooth(force, self.options.force_sigma)
        least = self.options.full_force * typical_length(force)
        if guide is not None:
            force.sub_(_smooth(guide * self.metric, self.options.force_sigma))
            least = max(least, self.options.full_force)  # of the mean: blank images have no force
        direction = _smooth(limited(force, max(least, LEAST_FORCE)), self.options.force_sigma)
        return direction.mul_(-rate * self.metric)

    def moved(self, displacement: Tensor, update: Tensor) -> Tensor:
        """Return the displacement after a step: composed, then smoothed."""
        if self.options.evenness > 0:
            update = update.add_(evening_step(displacement, self.metric, self.options.evenness))
        field = _smooth(compose(displacement, update, quick=True), self.options.field_sigma)
        # a Gaussian's tails would spread as denormal numbers, which are very slow on CPUs
        return F.hardshrink(field, NOTHING)


def _smooth(field: Tensor, sigma: float) -> Tensor:
    """Return (1, 3, D, H, W) under a Gaussian; nothing moves outside the grid."""
    return window_sum(field, gaussian(sigma)) if sigma > 0 else field
