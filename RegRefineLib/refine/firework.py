"""FiRework's steps from any start: a trained network subtracts the error it finds in a field.

    phi^{k+1} = phi^k - R(I_f, I_m, I_m o phi^k, phi^k)    (arXiv 2410.09595; networks/firework.py)

phi^0 is the start's field, of whatever kind; from zero, the first step is the network's own first
stage. The paper fixes n per data set by the labels of its test images; here the images alone
decide: the iteration ends when the local NCC of the warped image no longer improves, and the best
field, which may be the start, is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import registry
from ..errors import Stopped
from ..inference.grid import network_grid
from ..inference.load import split
from ..job import Progress
from ..networks.base import autocast
from ..ops.warp import warp
from ..pair import Pair, Refined, Report, compared
from .settings import FiRework


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start (1, 3, D, H, W) after FiRework's steps, in voxels.

    Raises:
        RegRefineError: a setting is wrong, the weights are not named, cannot be loaded, or are of
            a network that takes no field.
        Cancelled: the report callback dropped the run.
    """
    options, loaded = split(FiRework, settings, "refinement firework")
    network = loaded.network.to(pair.device)
    grid = network_grid(pair.geometry, loaded.preprocessing, network)
    moving, fixed = grid.both(pair)
    first = grid.own(start) if bool(start.any()) else None
    run = _Run(pair, start, options, report)
    following = network.following(moving, fixed, first)
    with torch.no_grad():
        for _ in range(options.steps):
            with autocast(pair.device, options.precision):
                found = next(following)
            # only the network's change is resampled to the pair's grid, so that a start finer than
            # the network's grid keeps its detail
            change = found if first is None else found - first
            run.settle(start + grid.displacement(change.to(start.dtype)))
            if run.because:
                break
    return run.result()


@dataclass
class _Run:
    """The criterion of each field, and the field that is kept as the result."""

    pair: Pair
    start: Tensor
    options: FiRework
    report: Report
    history: list[dict[str, float]] = field(default_factory=list)
    because: str = ""

    def __post_init__(self) -> None:
        self.measure = registry.find("similarity", self.options.similarity)
        self.mask = compared(self.pair, self.start)
        self.best = self.last = self.start
        self.least = self.criterion(self.start)
        self.without_gain = 0

    def criterion(self, displacement: Tensor) -> float:
        """Return the similarity's loss of the moving image through a displacement."""
        moved = warp(self.pair.moving, displacement)
        return float(self.measure(self.pair.fixed, moved, self.mask))

    def settle(self, displacement: Tensor) -> None:
        """Record and report a step's field; set `because` to the reason if the steps should end."""
        self.last = displacement
        loss = self.criterion(displacement)
        self.without_gain += 1
        if loss < self.least:
            self.least, self.best, self.without_gain = loss, displacement, 0
        step = len(self.history)
        self.history.append({"step": float(step), "similarity": loss, "total": loss})
        terms = {"similarity": loss, "total": loss}
        try:
            self.report(
                Progress("refine", step, self.options.steps, loss=terms, displacement=displacement)
            )
        except Stopped:
            self.because = "stopped by the user"
            return
        if self.options.patience and self.without_gain >= self.options.patience:
            self.because = f"no gain in {self.options.patience} steps"

    def result(self) -> Refined:
        """Return the kept field and the history."""
        chosen = self.last if self.options.keep == "last" else self.best
        return Refined(chosen, self.history, self.because or "all steps done")
