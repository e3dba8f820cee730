"""Linear pre-alignment: centres, rigid, affine; coarse to fine on the correlation of intensities.

A map of fixed points x (RAS mm) is x -> c + exp(G) (x - c) + t about the middle c of the fixed
grid: G skew is a rotation, G free an affine map. The generators are scaled so that a step of one
in any of them moves the image's rim by about one millimetre, which makes one step size fit all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import registry
from .geometry import FloatArray, Geometry, Volume
from .job import Extras, Progress
from .pair import Report, ignore
from .prepare import scaled, to_tensor
from .resample import downsampled, resample
from .warp import identity, sample

# voxel size in mm, Adam steps, first step size in mm
LEVELS = ((8.0, 60, 4.0), (4.0, 40, 1.0), (2.5, 16, 0.4))


@dataclass(frozen=True, eq=False)
class _Level:
    """One resolution: images (1,1,...), weights of the voxels, and their grids."""

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
    similarity: str = "correlation",
    report: Report = ignore,
) -> FloatArray:
    """Return the 4x4 that takes fixed RAS mm points to moving RAS mm points.

    Args:
        kind: none, centre, rigid or affine; centre+rigid and centre+affine do not trust the
            headers' positions and begin with the images' centres of mass on each other.
        similarity: correlation (squared, so that an inverted contrast does as well), or a name of
            the similarities' table, mutual-information for one.

    Without centre+ the better of the header's position and the centres of mass is the beginning.
    The best map that was seen wins, so the result is never worse than the beginning.
    """
    given = extras or Extras()
    if kind == "none":
        return np.eye(4)
    centred = np.eye(4)
    centred[:3, 3] = centre_of_mass(moving, intensity) - centre_of_mass(fixed, intensity)
    if kind == "centre":
        return centred
    starts = [centred] if kind.startswith("centre") else [np.eye(4), centred]
    levels = [_level(fixed, moving, mm, intensity, given) for mm, _, _ in LEVELS]
    return _Search(levels, similarity, report).best(starts, kind.rpartition("+")[2])


def centre_of_mass(volume: Volume, intensity: str = "minmax") -> FloatArray:
    """Return the RAS mm of the mean position of intensity above the volume's lowest."""
    weights = scaled(volume, intensity).array
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return volume.geometry.centre
    index = [
        float((weights.sum(axis=others, dtype=np.float64) * np.arange(n)).sum()) / total
        for n, others in zip(volume.array.shape[::-1], ((0, 1), (0, 2), (1, 2)), strict=True)
    ]
    return volume.geometry.to_ras(index)


def _level(fixed: Volume, moving: Volume, mm: float, intensity: str, extras: Extras) -> _Level:
    def small(volume: Volume) -> Volume:
        return downsampled(scaled(volume, intensity), mm)

    def weight(mask: Volume | None, grid: Geometry) -> Tensor:
        if mask is None:
            return torch.ones((1, 1, *grid.shape))
        inside = Volume((mask.array != 0).astype(np.float32), mask.geometry)
        return to_tensor(resample(inside, grid), torch.device("cpu"))

    f, m = small(fixed), small(moving)
    return _Level(
        to_tensor(f, torch.device("cpu")),
        to_tensor(m, torch.device("cpu")),
        weight(extras.fixed_mask, f.geometry),
        weight(extras.moving_mask, m.geometry),
        f.geometry,
        m.geometry,
    )


class _Search:
    """Adam over the generators, level by level, from the most promising start."""

    def __init__(self, levels: list[_Level], similarity: str, report: Report):
        self.levels, self.report = levels, report
        self.similarity = similarity
        grid = levels[0].fixed_grid
        self.centre = torch.tensor(grid.centre)
        self.radius = 0.5 * float(np.linalg.norm(grid.corners().max(0) - grid.corners().min(0))) / 2
        self.done = 0

    def best(self, starts: list[FloatArray], kind: str) -> FloatArray:
        """Return the 4x4 with the least loss."""
        trials = [self._descend(self.levels[0], 0, start, "rigid") for start in starts]
        matrix = min(trials, key=lambda trial: trial[0])[1]
        for n, level in enumerate(self.levels):
            if n > 0:
                _, matrix = self._descend(level, n, matrix, "rigid" if n == 1 else kind)
            if kind == "affine" and n < 2:
                _, matrix = self._descend(level, n, matrix, "affine")
        return matrix

    def _descend(
        self, level: _Level, n: int, start: FloatArray, kind: str
    ) -> tuple[float, FloatArray]:
        _, steps, rate = LEVELS[n]
        parameters = torch.zeros(12, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([parameters], lr=rate, betas=(0.8, 0.95))
        base = torch.tensor(start)
        least, chosen = float("inf"), start
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate * (1.0 - step / steps)
            optimiser.zero_grad()
            matrix = base @ self._map(parameters, kind)
            loss = self._loss(level, matrix)
            if float(loss) < least:
                least, chosen = float(loss), matrix.detach().numpy().copy()
            loss.backward()
            optimiser.step()
            self.done += 1
            self.report(Progress("affine", self.done, 0, loss={"total": float(loss)}))
        return least, chosen

    def _map(self, p: Tensor, kind: str) -> Tensor:
        """The 4x4 c + exp(G)(x - c) + t of parameters in mm at the rim."""
        g = p[:9].view(3, 3) / self.radius
        generator = g - g.T if kind == "rigid" else g
        linear = torch.linalg.matrix_exp(generator)
        shift = self.centre + p[9:] - linear @ self.centre
        top = torch.cat([linear, shift[:, None]], dim=1)
        return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=p.dtype)])

    def _loss(self, level: _Level, matrix: Tensor) -> Tensor:
        moving_index = torch.tensor(level.moving_grid.inverse_affine)
        fixed_affine = torch.tensor(level.fixed_grid.affine)
        index = moving_index @ matrix @ fixed_affine  # (i,j,k) -> (i,j,k)
        m = index.flip(0)[1:].float()  # rows k, j, i
        grid = identity(level.fixed_grid.shape, level.fixed)
        positions = torch.einsum("rc,ncdhw->nrdhw", m[:, :3].flip(1), grid) + m[:, 3].view(
            1, 3, 1, 1, 1
        )
        moved = sample(level.moving, positions)
        inside = sample(level.moving_weight, positions.detach())
        weight = level.fixed_weight * inside
        share = weight.sum() / level.fixed_weight.sum().clamp_min(1)
        if self.similarity == "correlation":
            loss = 1.0 - _squared_correlation(level.fixed, moved, weight)
        else:
            loss = registry.find("similarity", self.similarity)(level.fixed, moved, weight)
        return loss + 0.1 * (1.0 - share)  # images must not flee from each other


def _squared_correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum().clamp_min(1e-6)
    a = a - (weight * a).sum() / total
    b = b - (weight * b).sum() / total
    cross = (weight * a * b).sum()
    return cross * cross / ((weight * a * a).sum() * (weight * b * b).sum()).clamp_min(1e-12)


def describe(matrix: FloatArray) -> Mapping[str, float]:
    """Return the map's largest translation in mm and its volume change, for a person to read."""
    return {
        "translation_mm": float(np.linalg.norm(matrix[:3, 3])),
        "volume_factor": float(np.linalg.det(matrix[:3, :3])),
    }
