"""One level of the pyramid: both images at one resolution, and the steps of their displacements.

One displacement warps the moving image onto the fixed one; in a symmetric descent there are two,
which warp the moving and the fixed image to a midway grid (symmetric.py).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...ops.filters import downsampled
from ...ops.warp import resize, warp
from ...pair import Pair, compared
from .greedy_step import GreedyStep
from .label_force import STRENGTH, LabelForce
from .landmark_force import LandmarkForce, inverse_points
from .measure import Measure, measure_against
from .settings import Pyramid

Shape = tuple[int, int, int]


class Level:
    """The similarity and the displacements at one resolution.

    Args:
        pair: with labels only where these guide the descent.
        fields: the current displacements on the level's grid, in its voxels.
        shape: of that grid.
        options: Pyramid's settings.
    """

    def __init__(self, pair: Pair, fields: list[Tensor], shape: Shape, options: Pyramid) -> None:
        self.options = options
        images = [downsampled(pair.moving, shape), downsampled(pair.fixed, shape)]
        edges = pair.geometry.resized(shape).spacing[::-1]
        metric = pair.moving.new_tensor(edges.min() / edges).view(1, 3, 1, 1, 1)
        self.motions = [GreedyStep(image, metric, options) for image in images[: len(fields)]]
        self.mask = _mask(pair, fields, shape)
        self.measure = self._against(images[1]) if len(fields) == 1 else None
        self.pulls = _pulls(pair, fields, shape) if options.landmarks > 0 else []
        self.label_force = None if pair.fixed_labels is None else LabelForce(pair, shape)

    def step(self, fields: list[Tensor], rate: float) -> tuple[list[Tensor], float]:
        """Return the displacements (1, 3, D, H, W) after one step, and the loss before it."""
        warped = [motion.warped(u) for motion, u in zip(self.motions, fields, strict=True)]
        guides = self._guides(fields)
        after, losses = [], []
        for n, (motion, u) in enumerate(zip(self.motions, fields, strict=True)):
            measure = self.measure or self._against(warped[1 - n].detach())
            loss = measure(warped[n])
            (slope,) = torch.autograd.grad(loss, warped[n])
            losses.append(loss.detach())
            update = motion.update(warped[n], slope, rate, guides[n] if guides else None)
            if self.pulls:
                points, strength = self.pulls[n], self.options.landmarks
                update *= 1.0 - strength * points.share
                update += points.update(u, rate).mul_(strength)
            after.append(motion.moved(u, update))
        return after, float(torch.stack(losses).mean())

    def _against(self, fixed: Tensor) -> Measure:
        return measure_against(fixed, self.mask, self.options)

    def _guides(self, fields: list[Tensor]) -> list[Tensor]:
        """Return the labels' force on each displacement, in units of the images' mean force."""
        if self.label_force is None:
            return []
        share = STRENGTH * self.options.labels * (1.0 if self.mask is None else self.mask)
        return [direction.mul_(share) for direction in self.label_force.directions(fields)]


def _mask(pair: Pair, fields: list[Tensor], shape: Shape) -> Tensor | None:
    """Return the mask of both images under the current displacements, None for everywhere."""
    if pair.fixed_mask is None and pair.moving_mask is None:
        return None
    whole = [resize(u, pair.shape) for u in fields]
    if len(whole) == 2 and pair.fixed_mask is not None:
        pair = replace(pair, fixed_mask=warp(pair.fixed_mask, whole[1]))
    mask = compared(pair, whole[0])
    return None if mask is None else _whole_voxels(downsampled(mask, shape))


def _pulls(pair: Pair, fields: list[Tensor], shape: Shape) -> list[LandmarkForce]:
    """Return the landmarks' step of each displacement, in the level's voxels."""
    if pair.fixed_points is None or pair.moving_points is None:
        return []
    scale = pair.fixed_points.new_tensor([n / o for n, o in zip(shape, pair.shape, strict=True)])
    fixed, moving = ((p + 0.5) * scale - 0.5 for p in (pair.fixed_points, pair.moving_points))
    if len(fields) == 1:
        return [LandmarkForce(fixed, moving, shape)]
    middle = (inverse_points(fields[0], moving) + inverse_points(fields[1], fixed)) / 2
    return [LandmarkForce(middle, moving, shape), LandmarkForce(middle, fixed, shape)]


def _whole_voxels(weights: Tensor) -> Tensor:
    """Return 1 for voxels that lie within the mask entirely, else 0: partial voxels mislead."""
    whole = (weights > 0.99).to(weights)
    return whole if bool(whole.any()) else weights
