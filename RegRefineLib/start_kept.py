"""Keep what a run began from if the refinement made it worse.

A finished refinement is judged so after a given initial transform, a stopped one always: the first
steps of a coarse-to-fine descent may take away from the overlap of structures what the later
ones give back, although the images look more alike after each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .live_metrics import measured
from .losses.global_ncc import global_ncc
from .losses.mutual_information import normalised_mutual_information
from .ops.warp import warp
from .pair import Pair, Refined, compared

# changes of a measure below these count as none: at the end of a run, and where it is stopped
END_TOLERANCE, STOP_TOLERANCE = 1e-4, 1e-3
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@torch.no_grad()
def better_of(pair: Pair, start: Tensor, refined: Refined) -> Refined:
    """Return the refined displacement, or the start if the refined one is worse.

    It is worse where the images are less alike both by normalised mutual information and by the
    size of their correlation, on the working grid: two measures, so that a refinement by either or
    by a third one is not undone for the sake of one of them.

    Args:
        start: displacement (1, 3, D, H, W) in voxels of the pair's grid.
    """
    gains = [
        likeness(pair, refined.displacement) - likeness(pair, start)
        for likeness in (_information, _correlation)
    ]
    if not all(gain < -END_TOLERANCE for gain in gains):
        return refined
    sentence = (
        "the images were less alike after the refinement than with the initial transform, so that "
        "was kept"
    )
    return _kept(start, refined, sentence)


@torch.no_grad()
def best_so_far(pair: Pair, start: Tensor, refined: Refined) -> Refined:
    """Return a stopped refinement, or the start or no displacement where that is better.

    Judged by the mean Dice on the working grid where both label maps are there, else by the
    size of the images' correlation.

    Args:
        start: displacement (1, 3, D, H, W) in voxels of the pair's grid.
    """
    candidates = {"the start": start, "the linear part": pair.zero()}
    name, score = _judge(pair, refined.displacement)
    best, kept = score + STOP_TOLERANCE, ""
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
    return _kept(candidates[kept], refined, sentence)


def _kept(displacement: Tensor, refined: Refined, sentence: str) -> Refined:
    remarks = (*refined.remarks, sentence)
    return replace(refined, displacement=displacement, remarks=remarks)


def _judge(pair: Pair, displacement: Tensor) -> tuple[str, float]:
    """Return the name of a measure and its value; more is better."""
    dice = measured(pair, displacement).get("dice")
    return ("correlation", _correlation(pair, displacement)) if dice is None else ("Dice", dice)


def _information(pair: Pair, displacement: Tensor) -> float:
    """Return the images' normalised mutual information under a displacement."""
    return -_loss(normalised_mutual_information, pair, displacement)


def _correlation(pair: Pair, displacement: Tensor) -> float:
    """Return how strongly the images correlate under a displacement, with either sign."""
    return abs(1.0 - _loss(global_ncc, pair, displacement))


def _loss(loss: Loss, pair: Pair, displacement: Tensor) -> float:
    moved = warp(pair.moving, displacement, padding="border")
    return float(loss(pair.fixed, moved, compared(pair, displacement)))
