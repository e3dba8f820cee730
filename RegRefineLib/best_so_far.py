"""The result of a run stopped early: the refinement so far, or its starting point if better.

The first steps of a coarse-to-fine descent can lower the overlap of structures, which the later
ones restore, even though the image similarity improves at every step. A user who stops the run
expects the best result so far, so the start and the linear part alone are candidates too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .live_metrics import measured
from .losses.global_ncc import global_ncc
from .ops.warp import warp
from .pair import Pair, Refined, compared

TOLERANCE = 1e-3


@torch.no_grad()
def best_so_far(pair: Pair, start: Tensor, refined: Refined) -> Refined:
    """Return the best of the stopped refinement, the start and a zero displacement.

    The criterion is the mean Dice on the working grid if both label maps are given, otherwise the
    correlation of the images.

    Args:
        start: displacement (1, 3, D, H, W) in voxels of the pair's grid.
    """
    candidates = {"the start": start, "the linear part": pair.zero()}
    name, score = _judge(pair, refined.displacement)
    best, kept = score + TOLERANCE, ""
    for words, displacement in candidates.items():
        _, other = _judge(pair, displacement)
        if other > best:
            best, kept = other, words
    if not kept:
        return refined
    sentence = (
        f"stopped early: {kept} had the better {name} ({best:.3f}, not {score:.3f}), so that is "
        "the result"
    )
    return replace(refined, displacement=candidates[kept], remarks=(*refined.remarks, sentence))


def _judge(pair: Pair, displacement: Tensor) -> tuple[str, float]:
    """Return the name and the value of the criterion; larger is better."""
    dice = measured(pair, displacement).get("dice")
    if dice is not None:
        return "Dice", dice
    moved = warp(pair.moving, displacement, padding="border")
    loss = float(global_ncc(pair.fixed, moved, compared(pair, displacement)))
    return "correlation", abs(1.0 - loss)
