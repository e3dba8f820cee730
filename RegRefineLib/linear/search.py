"""Linear pre-alignment: centres, rigid, affine; coarse to fine on mutual information.

It needs no assumption on contrast: a squared correlation, as quick, does as well where both images
are of one kind, and fails on a T2 of a brain cut out, whose dark background is no dark tissue.

A map of fixed points x (RAS mm) is x -> c + exp(G) (x - c) + t about the middle c of the fixed
grid: G skew is a rotation, G free an affine map. The generators are scaled so that a step of one
in any of them moves the image's rim by about one millimetre, which makes one step size fit all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import Stopped
from ..geometry import FloatArray, Geometry, Volume
from ..intensity import scaled
from ..job import Extras, Progress
from ..losses.mutual_information import mutual_information
from ..ops.warp import identity, sample
from ..pair import Report, ignore
from ..prepare import to_tensor
from ..resample import downsampled, resample
from .translation import best_translation

# voxels along the image's longest side, Adam's steps, first step size in voxels
# weight of the linear part's stretch beside normalised mutual information (some 0.01 to 0.1 apart
# between a good and a bad place): without it, half-overlapping images shrink onto each other
STRETCH = 1.0
LEVELS = ((24, 60, 0.5), (48, 40, 0.25), (80, 20, 0.15))


@dataclass(frozen=True, eq=False)
class _Level:
    """One resolution: images (1,1,...), weights of voxels, their grids; steps and their size."""

    steps: int
    rate_mm: float
    fixed: Tensor
    moving: Tensor
    fixed_weight: Tensor
    moving_weight: Tensor
    fixed_grid: Geometry
    moving_grid: Geometry


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
        kind: none, centre, rigid or affine; centre+rigid and centre+affine do not trust the
            headers' positions and begin without them.

    The beginning is the best of: the header's position (not with centre+), the centres of mass on
    each other, and the best of all translations (linear/translation.py).
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
    images = [(fixed, moving)]
    for n, _, _ in reversed(LEVELS):  # each from the finer one: large volumes are smoothed once
        finer_fixed, finer_moving = images[0]
        mm = longest / n
        # two slices at least: one shows no tilt
        images.insert(0, (downsampled(finer_fixed, mm, 2), downsampled(finer_moving, mm, 2)))
    starts = [centred, best_translation(*images[1], longest / LEVELS[0][0])]
    if not kind.startswith("centre"):
        starts.append(np.eye(4))
    levels = [
        _level(*pair, (longest / n, steps, rate), given)
        for pair, (n, steps, rate) in zip(images[:-1], LEVELS, strict=True)
    ]
    return _Search(levels, report).best(starts, kind.rpartition("+")[2])


def centre_of_mass(volume: Volume) -> FloatArray:
    """Return the RAS mm of the mean position of the intensities; the middle where all are zero."""
    weights = volume.array
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return volume.geometry.centre
    index = [
        float((weights.sum(axis=others, dtype=np.float64) * np.arange(n)).sum()) / total
        for n, others in zip(volume.array.shape[::-1], ((0, 1), (0, 2), (1, 2)), strict=True)
    ]
    return volume.geometry.to_ras(index)


def _level(fixed: Volume, moving: Volume, plan: tuple[float, int, float], extras: Extras) -> _Level:
    """Images are scaled and downsampled; plan: voxel size in mm, steps, first step in voxels."""
    mm, steps, rate = plan

    def weight(mask: Volume | None, grid: Geometry) -> Tensor:
        if mask is None:
            return torch.ones((1, 1, *grid.shape))
        inside = Volume((mask.array != 0).astype(np.float32), mask.geometry)
        return to_tensor(resample(inside, grid), torch.device("cpu"))

    return _Level(
        steps,
        rate * mm,
        to_tensor(fixed, torch.device("cpu")),
        to_tensor(moving, torch.device("cpu")),
        weight(extras.fixed_mask, fixed.geometry),
        weight(extras.moving_mask, moving.geometry),
        fixed.geometry,
        moving.geometry,
    )


class _Search:
    """Adam over the generators, level by level, from the most promising start."""

    def __init__(self, levels: list[_Level], report: Report):
        self.levels, self.report = levels, report
        grid = levels[0].fixed_grid
        self.centre = torch.tensor(grid.centre)
        self.radius = float(np.ptp(grid.corners(), axis=0).mean()) / 2
        self.done = self.todo = 0
        self.stopped = False

    def best(self, starts: list[FloatArray], kind: str) -> FloatArray:
        """Return the 4x4 with the least loss: rigid from every start, then on with the best.

        Where nothing better than that start was found, as between images that lie well, it is it.
        """
        coarse, *finer = self.levels
        if kind == "rigid":
            plan = [(level, "rigid") for level in finer]
        else:
            plan = [(finer[0], "rigid"), *((level, "affine") for level in finer)]
        self.todo = len(starts) * coarse.steps + sum(level.steps for level, _ in plan)
        trials = [(*self._descend(coarse, start, "rigid", start), start) for start in starts]
        _, matrix, origin = min(trials, key=lambda trial: trial[0])
        for level, step_kind in plan:
            _, matrix = self._descend(level, matrix, step_kind, origin)
        finest = self.levels[-1]
        share = self._share(finest, origin)
        return min(origin, matrix, key=lambda m: float(self._loss(finest, torch.tensor(m), share)))

    def _descend(
        self, level: _Level, start: FloatArray, kind: str, origin: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the least loss that was seen on the way, and its matrix.

        `origin` is where the levels above began: the images stay about as far on each other as
        there. Once the report callback said stop, no more steps are taken.
        """
        parameters = torch.zeros(12, dtype=torch.float64, requires_grad=True)
        adam = _Adam(parameters)
        base = torch.tensor(start)
        least, chosen = float("inf"), start
        share = self._share(level, origin)
        for step in range(level.steps):
            if self.stopped:
                break
            matrix = base @ self._map(parameters, kind)
            loss = self._loss(level, matrix, share)
            value = float(loss.detach())
            if value < least:
                least, chosen = value, matrix.detach().numpy().copy()
            (gradient,) = torch.autograd.grad(loss, parameters)
            adam.step(gradient, level.rate_mm * (1.0 - step / level.steps))
            self.done += 1
            self._tell(value)
        return least, chosen

    def _tell(self, loss: float) -> None:
        try:
            self.report(Progress("affine", self.done - 1, self.todo, loss={"total": loss}))
        except Stopped:
            self.stopped = True

    def _map(self, p: Tensor, kind: str) -> Tensor:
        """The 4x4 c + exp(G)(x - c) + t of parameters in mm at the rim."""
        g = p[:9].view(3, 3) / self.radius
        generator = g - g.T if kind == "rigid" else g
        linear = torch.linalg.matrix_exp(generator)
        shift = self.centre + p[9:] - linear @ self.centre
        top = torch.cat([linear, shift[:, None]], dim=1)
        return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=p.dtype)])

    def _positions(self, level: _Level, matrix: Tensor) -> Tensor:
        """Where the fixed voxels lie in the moving image, (1, 3, D, H, W) in its voxels."""
        moving_index = torch.tensor(level.moving_grid.inverse_affine)
        fixed_affine = torch.tensor(level.fixed_grid.affine)
        index = moving_index @ matrix @ fixed_affine  # (i,j,k) -> (i,j,k)
        rows = index[:3].flip(0).float()  # k, j, i
        grid = identity(level.fixed_grid.shape, level.fixed)
        linear = torch.einsum("rc,ncdhw->nrdhw", rows[:, :3].flip(1), grid)
        return linear + rows[:, 3].view(1, 3, 1, 1, 1)

    @torch.no_grad()
    def _share(self, level: _Level, matrix: FloatArray) -> float:
        """The share of the fixed voxels that the moving image covers."""
        inside = sample(level.moving_weight, self._positions(level, torch.tensor(matrix)))
        return float((level.fixed_weight * inside).sum() / level.fixed_weight.sum().clamp_min(1))

    def _loss(self, level: _Level, matrix: Tensor, share_before: float) -> Tensor:
        positions = self._positions(level, matrix)
        # beyond the image its border goes on: zeros there would be contents to a weight of a half
        moved = sample(level.moving, positions, padding="border")
        inside = sample(level.moving_weight, positions)
        weight = level.fixed_weight * inside.detach()
        # plain, it finds the place but grows with the contents; normalised, it is exact about the
        # place, but as a search it falls for a corner that both images share
        found = level is not self.levels[0]
        loss = mutual_information(level.fixed, moved, weight, normalised=found)
        # images must not flee from each other until little is left to compare
        share = (level.fixed_weight * inside).sum() / level.fixed_weight.sum().clamp_min(1)
        loss = loss + (0.9 - share / max(share_before, 1e-3)).clamp_min(0) + 0.1 * (1 - share)
        return loss + STRETCH * _stretch(matrix[:3, :3])


def _stretch(linear: Tensor) -> Tensor:
    """Return about the sum of squared logarithms of the map's scales: 0 for a rigid map."""
    unit = torch.eye(3, dtype=linear.dtype)
    return (linear.T @ linear - unit).square().sum() / 4


class _Adam:
    """Adam (Kingma 2015) for a dozen numbers; to load torch's own takes longer than the search."""

    def __init__(self, parameters: Tensor, betas: tuple[float, float] = (0.8, 0.95)):
        self.parameters, self.betas = parameters, betas
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Change the parameters by a step of about `rate` each."""
        b1, b2 = self.betas
        self.steps += 1
        self.first.mul_(b1).add_(gradient, alpha=1 - b1)
        self.second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second / (1 - b2**self.steps)).sqrt_().add_(1e-8)
        self.parameters.addcdiv_(self.first, scale, value=-rate / (1 - b1**self.steps))
