"""Keep the given initial transform if the refinement made the result worse."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .losses.global_ncc import global_ncc
from .losses.mutual_information import normalised_mutual_information
from .ops.warp import warp
from .pair import Pair, Refined, compared

# smaller changes of a loss are ignored
TOLERANCE = 1e-4


@torch.no_grad()
def better_of(pair: Pair, start: Tensor, refined: Refined) -> Refined:
    """Return the refined displacement, or the start if the refined one is worse.

    It counts as worse if both the normalised mutual information and the squared correlation of the
    images have dropped on the working grid. Both are required, so that a refinement driven by one
    of them, or by a third similarity, is not undone because one of them dropped.

    Args:
        start: displacement (1, 3, D, H, W) in voxels of the pair's grid.
    """
    before, after = (_losses(pair, u) for u in (start, refined.displacement))
    if not all(b - a < -TOLERANCE for b, a in zip(before, after, strict=True)):
        return refined
    sentence = (
        "the images were less alike after the refinement than with the initial transform, so that "
        "was kept"
    )
    return replace(refined, displacement=start, remarks=(*refined.remarks, sentence))


def _losses(pair: Pair, displacement: Tensor) -> tuple[float, float]:
    """Return two measures of dissimilarity of the images; smaller is better."""
    moved = warp(pair.moving, displacement, padding="border")
    mask = compared(pair, displacement)
    information = normalised_mutual_information(pair.fixed, moved, mask)
    correlation = global_ncc(pair.fixed, moved, mask)
    return float(information), -abs(1.0 - float(correlation))
