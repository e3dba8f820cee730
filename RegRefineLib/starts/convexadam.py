"""ConvexAdam's discrete stage as a start: large displacements without a network or training.

Siebert, Hansen, Heinrich, "Fast 3D registration with accurate optimisation and little learning for
Learn2Reg 2021"; "Self-configuring dual-optimisation" (TMI 2024). Recipes:

* fixed (default): positions of the inverse-consistency sweep are exact, and the field is in voxels
  of the full grid whether or not that sweep runs.
* released: the published program's numbers. Its sweep stretches positions by N/(N-1) and fades to
  zero at the border; without the sweep the field is handed on in cells, not multiplied by the
  spacing (there on the coarse grid even; `search` returns that).

With masks, the voxels outside show their nearest inside, in both recipes (discrete.continued).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RegRefineError
from ..job import Progress
from ..ops.dense_search import cell_features, correlate, coupled_convex, inverse_consistent, unpool
from ..pair import Pair, Report
from ..settings import read_settings

RECIPES = ("fixed", "released")
MEMORY_LIMIT = 4 * 2**30  # bytes of one table of costs; above half of it in half precision


@dataclass(frozen=True)
class Settings:
    """Settings of the discrete stage; the published program's names in brackets.

    Attributes:
        recipe: fixed or released.
        mind_radius, mind_dilation: of the MIND features, in voxels [mind_r, mind_d].
        spacing: edge of a cell in voxels [grid_sp].
        reach: largest displacement in cells, so spacing * reach voxels [disp_hw].
        inverse_consistent: search both ways and reconcile [ic].
    """

    recipe: str = "fixed"
    mind_radius: int = 1
    mind_dilation: int = 2
    spacing: int = 6
    reach: int = 4
    inverse_consistent: bool = True

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise RegRefineError(f"recipe: one of {', '.join(RECIPES)}, got {self.recipe!r}")
        for name in ("mind_radius", "mind_dilation", "spacing", "reach"):
            value = getattr(self, name)
            if value < 1:
                raise RegRefineError(f"setting {name}: 1 or more is needed, got {value}")


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the displacement (1, 3, D, H, W) in voxels of the discrete stage.

    Raises:
        RegRefineError: a setting is wrong, the images are smaller than a cell, or the table of
            costs would not fit.
    """
    chosen = read_settings(Settings, settings)
    field = search(pair, chosen, report)
    if chosen.recipe == "fixed":
        return unpool(field, chosen.spacing, pair.shape)
    if chosen.inverse_consistent:
        field = field * chosen.spacing
    return F.interpolate(field, size=pair.shape, mode="trilinear", align_corners=False)


@torch.no_grad()
def search(pair: Pair, settings: Settings, report: Report) -> Tensor:
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


def _precision(shape: tuple[int, int, int], settings: Settings) -> torch.dtype:
    """Return how costs are kept; half precision is the published program's on a GPU."""
    if min(shape) < settings.spacing:
        raise RegRefineError(
            f"convexadam: cells of {settings.spacing} voxels do not fit in an image of "
            f"{' x '.join(map(str, shape))}; set spacing to {max(min(shape) // 2, 1)} or less"
        )
    cells = 1
    for n in shape:
        cells *= n // settings.spacing
    needed = 2 * cells * (2 * settings.reach + 1) ** 3
    if needed > MEMORY_LIMIT:
        raise RegRefineError(
            f"convexadam: spacing {settings.spacing} and reach {settings.reach} need "
            f"{needed / 2**30:.1f} GB for one table of costs; use a larger spacing or less reach"
        )
    return torch.float32 if 2 * needed <= MEMORY_LIMIT // 2 else torch.float16
