"""ConvexAdam's discrete stage as a start: large displacements without a network or training.

Siebert, Hansen, Heinrich, "Fast 3D registration with accurate optimisation and little learning for
Learn2Reg 2021"; "Self-configuring dual-optimisation" (TMI 2024). Recipes:

* fixed (default): positions of the inverse-consistency sweep are exact, and the field is in voxels
  of the full grid whether or not that sweep runs.
* released: the published program's numbers. Its sweep stretches positions by N/(N-1) and fades to
  zero at the border; without the sweep the field is returned in cells, not multiplied by the
  spacing (and even on the coarse grid; `search` returns that).

With masks, voxels outside take the value of the nearest voxel inside, in both recipes
(dense_search.continued).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..job import Progress
from ..ops.dense_search import cell_features, correlate, coupled_convex, inverse_consistent, unpool
from ..pair import Pair, Report
from ..settings import Conditions, read_settings
from .settings import TABLE_LIMIT, ConvexAdam


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the displacement (1, 3, D, H, W) in voxels of the discrete stage.

    Raises:
        RegRefineError: a setting is wrong, the images are smaller than a cell, or the table of
            costs would not fit.
    """
    chosen = read_settings(ConvexAdam, settings)
    field = search(pair, chosen, report)
    if chosen.recipe == "fixed":
        return unpool(field, chosen.spacing, pair.shape)
    if chosen.inverse_consistent:
        field = field * chosen.spacing
    return F.interpolate(field, size=pair.shape, mode="trilinear", align_corners=False)


@torch.no_grad()
def search(pair: Pair, settings: ConvexAdam, report: Report) -> Tensor:
    """Return the discrete stage's field (1, 3, d, h, w) in cells of `spacing` voxels."""
    dtype = _precision(pair.shape, settings)
    steps = 3 if settings.inverse_consistent else 2
    report(Progress("start", 0, steps, message="MIND features"))
    window = (settings.mind_radius, settings.mind_dilation, settings.spacing)
    fixed = cell_features(pair.fixed, pair.fixed_mask, *window)
    moving = cell_features(pair.moving, pair.moving_mask, *window)
    report(Progress("start", 1, steps, message="search fixed to moving"))
    field = coupled_convex(correlate(fixed, moving, settings.reach, dtype=dtype))
    if settings.inverse_consistent:
        report(Progress("start", 2, steps, message="search moving to fixed"))
        backward = coupled_convex(correlate(moving, fixed, settings.reach, dtype=dtype))
        field, _ = inverse_consistent(field, backward, released=settings.recipe == "released")
    return field


def _precision(shape: tuple[int, int, int], settings: ConvexAdam) -> torch.dtype:
    """Return the data type of the costs; half precision is the published program's on a GPU."""
    settings.check(Conditions(shape))
    needed = settings.table_bytes(shape)
    return torch.float32 if 2 * needed <= TABLE_LIMIT // 2 else torch.float16
