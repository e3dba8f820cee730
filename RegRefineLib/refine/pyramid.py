"""The project's own refinement: coarse-to-fine descent by small compositive, diffeomorphic steps.

At every level of an image pyramid and at every step

    J   = I_m o phi                               the moving image through the present map
    g   = K_s * ( dL/dJ M grad J )                the force, smoothed (fluid regularisation)
    d   = -rate M K_s * ( m1(g) / sqrt(m2(|g|)) ) Adam whose second moment is that of the vector
    phi = K_e * ( phi o (id + d) )                composed, then smoothed (elastic regularisation)

grad J is the gradient of the warped image, which is what a composition asks for (Avants 2008,
doi:10.1016/j.media.2007.06.004; Yushkevich's greedy likewise), so nothing is differentiated through
the sampling. A second moment that all three components share keeps the force's direction, and the
moments make every neighbourhood move at its own pace, which a single step length does not (adaptive
steps on diffeomorphisms: Jena 2024, arXiv 2404.01249). M, the smallest voxel edge over each axis's
own, takes gradients to millimetres and lengths back to voxels: in a stack of thick slices a step
through the slices is no longer than one within them. Steps are a fraction of a voxel, so each
is invertible and so is their composition; the few folds of a discrete grid are mended (unfold.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .. import registry
from ..filters import gaussian, thinned, window_sum
from ..job import Progress, RegRefineError, Stopped
from ..losses.ncc import LocalNCC
from ..losses.windowed import WindowedSimilarity
from ..pair import Pair, Report
from ..resample import coarser
from ..warp import compose, resize, warp
from .outcome import Refined, compared, read_settings
from .pull import Pull, points_before
from .unfold import unfolded

Measure = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pyramid:
    """Settings.

    Attributes:
        levels: "factor:steps ...": voxels that many times the smallest, and how many steps.
        steps: all steps together, dealt out in the proportions of `levels`; -1: as they stand.
        similarity: ncc, or a name of `regrefine list similarities` (mind for other modalities).
        window: width of the correlation's window in voxels of the level.
        step: length of a step in the level's smallest voxel edges; it falls to `last_step` of that
            at the end.
        force_sigma, field_sigma: Gaussians in voxels on the force (fluid) and the field (elastic).
        momentum, memory: Adam's two rates of forgetting.
        landmarks: how strongly corresponding landmarks pull (pull.py), 0 (they are for figures
            alone) to 1 (as fast as steps are long).
        patience_steps, gain: leave a level when so many steps brought less than that share of the
            loss; 0 steps: never.
    """

    levels: str = "4:40 2:40 1:10"
    steps: int = -1
    similarity: str = "ncc"
    window: int = 7
    step: float = 0.5
    last_step: float = 0.5
    force_sigma: float = 1.0
    field_sigma: float = 0.5
    momentum: float = 0.9
    memory: float = 0.99
    landmarks: float = 0.0
    patience_steps: int = 10
    gain: float = 0.0

    def level_list(self) -> list[tuple[float, int]]:
        """Return [(factor, steps), ...] of `levels`, coarse to fine."""
        try:
            parts = [part.split(":") for part in self.levels.replace(",", " ").split()]
            levels = [(float(factor), int(steps)) for factor, steps in parts]
        except ValueError:
            levels = []
        if not levels or any(factor < 1 or steps < 0 for factor, steps in levels):
            raise RegRefineError(
                f"setting levels: 'factor:steps ...' with factors from 1 on, got {self.levels!r}"
            )
        if self.steps < 0:
            return levels
        share = self.steps / max(1, sum(steps for _, steps in levels))
        ends = [round(share * end) for end in accumulate(steps for _, steps in levels)]
        starts = [0, *ends]
        return [(levels[n][0], end - starts[n]) for n, end in enumerate(ends)]


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start (1, 3, D, H, W) after the descent, in voxels.

    Raises:
        RegRefineError: a setting is unknown or out of range.
        Cancelled: the report callback dropped the run.
    """
    descent = _Descent(pair, start.detach(), read_settings(Pyramid, settings), report)
    because = "all steps done"
    try:
        descent.run()
    except Stopped:
        because = "stopped by the user"
    return Refined(unfolded(descent.whole()), descent.history, because)


class _Descent:
    """The displacement on the level's grid, and what happened to it.

    It is found for the moving image as the start shows it, and composed with the start at the end:
    no detail of the start is lost on the coarse levels, and nothing pulls back to where it began.
    """

    def __init__(self, pair: Pair, start: Tensor, options: Pyramid, report: Report):
        self.start = start if bool(start.any()) else None
        self.pair = pair if self.start is None else _through(pair, start)
        self.options, self.report = options, report
        self.levels = options.level_list()
        self.displacement = pair.zero()
        self.history: list[dict[str, float]] = []
        self.total = sum(steps for _, steps in self.levels)
        self.factor = self.levels[0][0]

    def run(self) -> None:
        """Go down the pyramid."""
        planned = 0
        for factor, steps in self.levels:
            spacing = factor * float(self.pair.geometry.spacing.min())
            shape = coarser(self.pair.geometry, spacing).shape
            self.displacement = resize(self.displacement, shape)
            self.factor = factor
            level = _Level(self.pair, self._compared(), shape, self.options)
            self._level(level, planned, steps)
            planned += steps

    def whole(self) -> Tensor:
        """Return the start and what was found on it, in voxels of the pair."""
        found = resize(self.displacement, self.pair.shape)
        return found if self.start is None else compose(self.start, found)

    def _compared(self) -> Tensor | None:
        if self.pair.fixed_mask is None and self.pair.moving_mask is None:
            return None
        return compared(self.pair, resize(self.displacement, self.pair.shape))

    def _level(self, level: _Level, first: int, steps: int) -> None:
        losses: list[float] = []
        for n in range(steps):
            rate = self.options.step * (1.0 - (1.0 - self.options.last_step) * n / steps)
            self.displacement, loss = level.step(self.displacement, rate)
            losses.append(loss)
            self.history.append({"step": first + n, "level": self.factor, "total": loss})
            self._tell(first + n, loss)
            if self._settled(losses):
                return

    def _settled(self, losses: list[float]) -> bool:
        back = self.options.patience_steps
        if not back or len(losses) <= back:
            return False
        return losses[-1 - back] - losses[-1] < self.options.gain * abs(losses[-1 - back])

    def _tell(self, step: int, loss: float) -> None:
        whole = self.displacement.shape[2:] == self.pair.fixed.shape[2:]
        self.report(
            Progress(
                "refine",
                step,
                self.total,
                loss={"total": loss},
                displacement=self.whole() if whole else None,
            )
        )


class _Level:
    """Both images at one resolution, the similarity to the fixed one, and Adam's moments."""

    def __init__(
        self, pair: Pair, mask: Tensor | None, shape: tuple[int, int, int], options: Pyramid
    ):
        self.options = options
        self.moving = thinned(pair.moving, shape)
        edges = pair.geometry.resized(shape).spacing[::-1]
        self.metric = self.moving.new_tensor(edges.min() / edges).view(1, 3, 1, 1, 1)
        mask = None if mask is None else _whole_voxels(thinned(mask, shape))
        self.measure = _measure(thinned(pair.fixed, shape), mask, options)
        self.pull = _pull(pair, shape) if options.landmarks > 0 else None
        self.first: Tensor | None = None
        self.second: Tensor | None = None
        self.steps = 0

    def step(self, displacement: Tensor, rate: float) -> tuple[Tensor, float]:
        """Return the displacement (1, 3, D, H, W) after one step, and the loss before it."""
        # beyond the image its border goes on: zeros there would be an edge to be matched
        moved = warp(self.moving, displacement, padding="border").requires_grad_()
        loss = self.measure(moved)
        (slope,) = torch.autograd.grad(loss, moved)
        with torch.no_grad():
            force = _gradient(moved).mul_(slope).mul_(self.metric)
            direction = self._adam(_smooth(force, self.options.force_sigma))
            update = _smooth(direction, self.options.force_sigma).mul_(-rate * self.metric)
            if self.pull is not None:
                update += self.pull.update(displacement, rate).mul_(self.options.landmarks)
            displacement = compose(displacement, update)
            return _smooth(displacement, self.options.field_sigma), float(loss.detach())

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


def _through(pair: Pair, start: Tensor) -> Pair:
    """Return the pair with the moving image, its mask and its points as the start shows them."""
    mask, points = pair.moving_mask, pair.moving_points
    return replace(
        pair,
        moving=warp(pair.moving, start, padding="border"),
        moving_mask=None if mask is None else warp(mask, start),
        moving_points=None if points is None else points_before(start, points),
    )


def _pull(pair: Pair, shape: tuple[int, int, int]) -> Pull | None:
    """Return the landmarks' pull on a level's grid, in its voxels."""
    if pair.fixed_points is None or pair.moving_points is None:
        return None
    scale = pair.fixed_points.new_tensor([n / o for n, o in zip(shape, pair.shape, strict=True)])
    fixed, moving = ((p + 0.5) * scale - 0.5 for p in (pair.fixed_points, pair.moving_points))
    return Pull(fixed, moving, shape)


def _measure(fixed: Tensor, mask: Tensor | None, options: Pyramid) -> Measure:
    if options.similarity == "ncc":
        terms = [(1.0, LocalNCC(options.window))]
        return WindowedSimilarity(fixed, terms, mask, zeros_beyond=False)
    measure = registry.find("similarity", options.similarity)
    return lambda moved: measure(fixed, moved, mask)


def _whole_voxels(weights: Tensor) -> Tensor:
    """Return 1 where a voxel lies within the mask entirely, else 0: part of nothing misleads."""
    whole = (weights > 0.99).to(weights)
    return whole if bool(whole.any()) else weights


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
