"""What the descent minimises at one resolution, and how a result is compared with its start."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ... import registry
from ...losses.mutual_information import mutual_information
from ...losses.ncc import LocalNCC
from ...losses.windowed import WindowedSimilarity
from ...ops.warp import warp
from ...pair import Pair, compared
from .settings import Pyramid

Measure = Callable[[Tensor], Tensor]


def measure_against(fixed: Tensor, mask: Tensor | None, options: Pyramid) -> Measure:
    """Return the loss of images compared with `fixed`, (1, 1, D, H, W), within the mask."""
    if options.similarity != "ncc":
        measure = registry.find("similarity", options.similarity)
        return lambda moved: measure(fixed, moved, mask)
    terms = [(1.0, LocalNCC(options.window))]
    local = WindowedSimilarity(fixed, terms, mask, zeros_beyond=False)
    share = options.information
    if not share:
        return local
    return lambda moved: local(moved) + share * mutual_information(fixed, moved, mask)


class Verdict(NamedTuple):
    """How well a displacement aligns the images, on the whole grid.

    Attributes:
        loss: what was minimised.
        information: mutual information in nats.
    """

    loss: float
    information: float

    def is_worse_than(self, other: Verdict) -> bool:
        """Whether either measure is worse; information by more than the noise of its histogram."""
        least = other.information - INFORMATION_NOISE * abs(other.information)
        return self.loss > other.loss or self.information < least


INFORMATION_NOISE = 2e-3


@torch.no_grad()
def verdicts(pair: Pair, displacements: list[Tensor], options: Pyramid) -> list[Verdict]:
    """Return a verdict on each displacement (1, 3, D, H, W) at the pair's own resolution.

    All are compared where both images count under the first of them.
    """
    mask = compared(pair, displacements[0])
    if mask is not None and not bool(mask.any()):
        mask = None
    measure = measure_against(pair.fixed, mask, options)
    found = []
    for displacement in displacements:
        moved = warp(pair.moving, displacement, padding="border", quick=True)
        information = -float(mutual_information(pair.fixed, moved, mask))
        found.append(Verdict(float(measure(moved)), information))
    return found
