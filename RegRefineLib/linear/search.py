"""Linear pre-alignment: centres, rigid, affine; coarse to fine on mutual information.

Mutual information needs no assumption on contrast: a squared correlation is as fast and does as
well where both images are of one kind, but fails on a skull-stripped T2, whose dark background does
not match dark tissue. The result, accurate to a few voxels, is then refined: between images of one
kind by squared local correlation, which is insensitive to shading, otherwise by mutual information.

A map of fixed points x (RAS mm) is x -> c + exp(G) (x - c) + t about the centre c of the fixed
grid: G skew is a rotation, G free an affine map. The generators are scaled so that a unit step in
any of them moves the image's border by about one millimetre, and one step size suits all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import Stopped
from ..geometry import FloatArray, Volume
from ..intensity import scaled
from ..job import Extras, Progress
from ..pair import Report, ignore
from .level import Image, Level, image_of
from .optimise import Adam, bfgs
from .translation import best_translation

# voxels along the image's longest side, Adam's steps, first step size in voxels
LEVELS = ((24, 60, 0.5), (48, 40, 0.25), (80, 20, 0.15))
# likewise; maximum evaluations, first and last step in voxels, maximum distance in voxels
PRECISE = (128, 25, 0.05, 0.002, 3.0)


def align(
    fixed: Volume,
    moving: Volume,
    kind: str,
    *,
    intensity: str = "minmax",
    extras: Extras | None = None,
    report: Report = ignore,
) -> FloatArray:
    """Return the 4x4 that takes fixed RAS mm points to moving RAS mm points.

    Args:
        kind: none, centre, rigid or affine; centre+rigid and centre+affine ignore the positions in
            the headers.

    The search starts from the best of: the headers' positions (not with centre+), aligned centres
    of mass, and the best of all translations (linear/translation.py).
    """
    given = extras or Extras()
    if kind == "none":
        return np.eye(4)
    fixed, moving = scaled(fixed, intensity), scaled(moving, intensity)
    centred = np.eye(4)
    centred[:3, 3] = centre_of_mass(moving) - centre_of_mass(fixed)
    if kind == "centre":
        return centred
    longest = float(np.ptp(fixed.geometry.corners(), axis=0).max())
    whole = image_of(fixed, given.fixed_mask), image_of(moving, given.moving_mask)
    levels = levels_of(*whole, longest)
    coarse = levels[0]
    shifted = best_translation(coarse.fixed.volume, coarse.moving.volume, coarse.mm)
    starts = [centred, shifted]
    if not kind.startswith("centre"):
        starts.append(np.eye(4))
    return _Search(levels, report).best(starts, kind.rpartition("+")[2])


def levels_of(fixed: Image, moving: Image, longest_mm: float) -> list[Level]:
    """Return the levels of the search, followed by that of the precise stage.

    Each is downsampled from the finer one: large volumes are smoothed once. A level that asks for
    more voxels than the images have repeats the previous one.
    """
    levels: list[Level] = []
    for n in (PRECISE[0], *(n for n, _, _ in reversed(LEVELS))):
        mm = longest_mm / n
        fixed, moving = fixed.coarser(mm), moving.coarser(mm)
        levels.insert(0, Level(fixed, moving, mm))
    return levels


def centre_of_mass(volume: Volume) -> FloatArray:
    """Return the intensities' centre of mass in RAS mm; the grid's centre if all are zero."""
    weights = volume.array
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return volume.geometry.centre
    index = [
        float((weights.sum(axis=others, dtype=np.float64) * np.arange(n)).sum()) / total
        for n, others in zip(volume.array.shape[::-1], ((0, 1), (0, 2), (1, 2)), strict=True)
    ]
    return volume.geometry.to_ras(index)


class _Search:
    """Descents over the generators, level by level, from the most promising start."""

    def __init__(self, levels: list[Level], report: Report):
        self.levels, self.report = levels, report
        grid = levels[0].fixed.grid
        self.centre = torch.tensor(grid.centre)
        self.radius = float(np.ptp(grid.corners(), axis=0).mean()) / 2
        self.done = self.todo = 0
        self.stopped = False

    def best(self, starts: list[FloatArray], kind: str) -> FloatArray:
        """Return the 4x4 with the least loss: rigid from every start, then continued from the best.

        If nothing better was found, as with images that are aligned already, it is that start.
        """
        middle, fine = LEVELS[1:]
        plan = [(1, middle[1:], "rigid"), (2, fine[1:], kind)]
        if kind == "affine":
            plan.insert(1, (1, middle[1:], kind))
        self.todo = len(starts) * LEVELS[0][1] + sum(steps for _, (steps, _), _ in plan)
        self.todo += PRECISE[1]
        trials = [
            (*self._descend(0, start, LEVELS[0][1:], "rigid", start), start) for start in starts
        ]
        _, matrix, origin = min(trials, key=lambda trial: trial[0])
        for n, steps, step_kind in plan:
            _, matrix = self._descend(n, matrix, steps, step_kind, origin)
        finest = self.levels[plan[-1][0]]
        share = finest.share(origin)

        def loss(m: FloatArray) -> float:
            return float(finest.information(torch.tensor(m), share, True))

        found = min(origin, matrix, key=loss)
        return found if self.stopped else self._precise(found, kind, share, origin)

    def _descend(
        self, n: int, start: FloatArray, plan: tuple[int, float], kind: str, origin: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the least loss along the descent, and its matrix.

        `origin` is where the coarser levels began: the images keep about as much overlap as there.
        Once the report callback asks to stop, no more steps are taken.
        """
        level, (steps, rate) = self.levels[n], plan
        parameters = torch.zeros(12, dtype=torch.float64, requires_grad=True)
        adam = Adam(parameters)
        base = torch.tensor(start)
        least, chosen = float("inf"), start
        share = level.share(origin)
        for step in range(steps):
            if self.stopped:
                break
            matrix = base @ self._map(parameters, kind)
            # plain mutual information finds the position but grows with the overlapping content;
            # normalised, it is accurate, but as a search criterion it is trapped by a corner that
            # both images share
            loss = level.information(matrix, share, normalised=n > 0)
            value = float(loss.detach())
            if value < least:
                least, chosen = value, matrix.detach().numpy().copy()
            (gradient,) = torch.autograd.grad(loss, parameters)
            adam.step(gradient, rate * level.mm * (1.0 - step / steps))
            self._count(value)
        return least, chosen

    def _precise(
        self, start: FloatArray, kind: str, share: float, origin: FloatArray
    ) -> FloatArray:
        """Return the matrix of the best local correlation, or information, near `start`.

        It is `start` if the result is farther away than the search's error can be, and `origin` if
        nothing better was found.
        """
        level, (_, evaluations, first, last, farthest) = self.levels[-1], PRECISE
        base = torch.tensor(start)
        if level.is_of_one_kind(start):
            measure = level.correlation(start)
        else:

            def measure(matrix: Tensor) -> Tensor:
                return level.information(matrix, share, normalised=True)

        def value_and_gradient(point: FloatArray) -> tuple[float, FloatArray]:
            parameters = torch.tensor(point, requires_grad=True)
            loss = measure(base @ self._map(parameters, kind))
            (gradient,) = torch.autograd.grad(loss, parameters)
            self._count(float(loss.detach()))
            if self.stopped:
                raise Stopped
            return float(loss.detach()), gradient.numpy()

        try:
            point, least = bfgs(
                value_and_gradient, 12, first * level.mm, last * level.mm, evaluations
            )
        except Stopped:
            return start
        if self.done < self.todo:
            self.done = self.todo - 1
            self._count(least)
        with torch.no_grad():
            if float(measure(torch.tensor(origin))) <= least:
                return origin
        if np.abs(point).max() > farthest * level.mm:
            return start
        return (base @ self._map(torch.tensor(point), kind)).numpy()

    def _count(self, loss: float) -> None:
        try:
            self.report(Progress("affine", self.done, self.todo, loss={"total": loss}))
        except Stopped:
            self.stopped = True
        self.done += 1

    def _map(self, p: Tensor, kind: str) -> Tensor:
        """The 4x4 c + exp(G)(x - c) + t of parameters in mm at the rim."""
        g = p[:9].view(3, 3) / self.radius
        generator = g - g.T if kind == "rigid" else g
        linear = torch.linalg.matrix_exp(generator)
        shift = self.centre + p[9:] - linear @ self.centre
        top = torch.cat([linear, shift[:, None]], dim=1)
        return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=p.dtype)])
