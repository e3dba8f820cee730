"""ConvexAdam's continuous stage: Adam on a smoothed field, comparing MIND features.

The field is three successive 3^3 box averages (nearly a cubic B-spline) of a free parameter on a
grid of cells; loss = 12 * mean squared feature difference + smoothness * sum over the axes of the
mean squared forward difference. Recipes:

* fixed (default): exact positions, cells placed where pooling has them, and the field of least loss
  among all steps, the last one included.
* released: the published program's numbers. It moves u * N/(N-1), resizes with a remainder
  stretched over the grid, throws the last step away and does nothing when the smoothness is 0.

With masks, voxels outside take the value of the nearest voxel inside (dense_search.continued);
`fixed` compares inside alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import Stopped
from ..job import Progress
from ..ops.dense_search import cell_features, pool, unpool
from ..ops.filters import box3
from ..ops.warp import warp
from ..pair import Pair, Refined, Report, compared
from ..settings import Conditions, read_settings
from .settings import ConvexAdamAdam


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start refined by Adam, (1, 3, D, H, W) in voxels, and one record per step.

    Raises:
        RegRefineError: a setting is wrong or the images are smaller than a cell.
    """
    chosen = read_settings(ConvexAdamAdam, settings)
    chosen.check(Conditions(pair.shape))
    released = chosen.recipe == "released"
    if chosen.steps == 0 or (released and chosen.smoothness == 0):
        return Refined(_smooth(_to_grid(start, pair.shape), chosen.smoothing))
    images = _Cells.of(pair, start, chosen)
    cells: tuple[int, int, int] = tuple(images.fixed.shape[2:])  # type: ignore[assignment]
    if released:
        parameter = _to_grid(start, cells) / chosen.spacing
    else:
        parameter = pool(start, chosen.spacing) / chosen.spacing
    field, history, stopped = _optimise(images, parameter, chosen, report)
    if released:
        full = _to_grid(field * chosen.spacing, pair.shape)
    else:
        full = unpool(field, chosen.spacing, pair.shape)
    return Refined(_smooth(full, chosen.smoothing), history, stopped)


class _Cells(NamedTuple):
    """Features of both images, (1, 12, d, h, w), and the weight of each cell, None: all alike."""

    fixed: Tensor
    moving: Tensor
    weight: Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, pair: Pair, start: Tensor, settings: ConvexAdamAdam) -> _Cells:
        window = (settings.mind_radius, settings.mind_dilation, settings.spacing)
        fixed = cell_features(pair.fixed, pair.fixed_mask, *window)
        moving = cell_features(pair.moving, pair.moving_mask, *window)
        weight = compared(pair, start) if settings.recipe == "fixed" else None
        return cls(fixed, moving, None if weight is None else pool(weight, settings.spacing))

    def difference(self, field: Tensor, released: bool) -> Tensor:
        """Return 12 times the (weighted) mean squared difference of the features."""
        warped = warp(self.moving, field, convention="reg-ttr" if released else "exact")
        if self.weight is None:
            return 12 * F.mse_loss(warped, self.fixed)
        squares = (warped - self.fixed).square().mean(dim=1, keepdim=True)
        return 12 * (squares * self.weight).sum() / self.weight.sum().clamp_min(1e-8)


def _optimise(
    images: _Cells, start: Tensor, settings: ConvexAdamAdam, report: Report
) -> tuple[Tensor, list[dict[str, float]], str]:
    """Return the field in cells, the history and why it ended."""
    released = settings.recipe == "released"
    parameter = start.detach().clone().requires_grad_()
    adam = torch.optim.Adam([parameter], lr=settings.learning_rate)
    evaluations = settings.steps if released else settings.steps + 1
    best, least = _spline(start, released), float("inf")
    history: list[dict[str, float]] = []
    for step in range(evaluations):
        adam.zero_grad()
        field = _spline(parameter, released)
        data = images.difference(field, released)
        smoothness = settings.smoothness * _roughness(field)
        total = data + smoothness
        if released or total.item() < least:
            best, least = field.detach(), total.item()
        terms = {"total": total.item(), "mind": data.item(), "smoothness": smoothness.item()}
        history.append({"step": float(step), **terms})
        try:
            report(Progress("refine", step, evaluations, loss=terms))
        except Stopped:
            return best, history, "stopped"
        if step + 1 < evaluations:
            total.backward()
            adam.step()
    return best, history, ""


def _roughness(field: Tensor) -> Tensor:
    """Return the sum over the axes of the mean squared forward difference."""
    axes = [axis for axis in (2, 3, 4) if field.shape[axis] > 1]
    return sum((field.diff(dim=axis).square().mean() for axis in axes), field.new_zeros(()))


def _spline(parameter: Tensor, released: bool) -> Tensor:
    """Return three 3^3 box averages of the parameter; released rounds as published."""
    return _smooth(parameter, 3) if released else box3(box3(box3(parameter)))


def _smooth(field: Tensor, width: int) -> Tensor:
    """Return three box averages of `width`, zeros outside counted; 0 leaves the field as it is."""
    if width:
        for _ in range(3):
            field = F.avg_pool3d(field, width, stride=1, padding=width // 2)
    return field


def _to_grid(displacement: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return the values trilinearly on another grid, not rescaled (as published)."""
    if tuple(displacement.shape[2:]) == shape:
        return displacement
    return F.interpolate(displacement, size=shape, mode="trilinear", align_corners=False)
