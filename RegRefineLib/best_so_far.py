"""What a stopped run gives back: the refinement so far, or what it began from where that is better.

The first steps of a coarse-to-fine descent may take away from the overlap of structures what the
later ones give back, although the images look more alike after each of them. Whoever stops there
asks for the best so far, and the start and the linear part alone are among the candidates.
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
    """Return a stopped refinement, or the start or no displacement where that is better.

    Judged by the mean Dice on the working grid where both label maps are there, else by the
    images' correlation.

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
    """Return the name of a measure and its value; more is better."""
    dice = measured(pair, displacement).get("dice")
    if dice is not None:
        return "Dice", dice
    moved = warp(pair.moving, displacement, padding="border")
    loss = float(global_ncc(pair.fixed, moved, compared(pair, displacement)))
    return "correlation", abs(1.0 - loss)
