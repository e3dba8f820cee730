"""Instance optimisation: a network's weights are fine-tuned on the pair at hand.

uniGradICON's (Tian et al., MICCAI 2024): 50 Adam steps of 2e-5 on all weights, for

    L = LNCC(I_f, I_m o phi) + LNCC(I_m, I_f o psi) + 1.5 * GradICON(phi, psi)

where phi and psi are the network's mappings for the pair and for the exchanged pair, and images are
zero outside (the project page says the border is continued; the published losses are reproduced
with zeros). A copy of the network is trained, with fixed batch-norm statistics, so one pair never
affects another's result. Any network of the registry can be used; with a regulariser of one
displacement it is evaluated once per step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import registry
from ..errors import Stopped
from ..inference.grid import NetworkGrid, network_grid
from ..inference.load import split
from ..job import Progress
from ..losses.inverse_consistency import cube_points, gradicon_of_offsets
from ..networks.base import RegistrationNetwork
from ..ops.warp import resize, warp
from ..pair import Pair, Refined, Report
from .settings import GRADICON, NetworkIO


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the displacement (1, 3, D, H, W) in voxels of the trained copy of a network.

    The start is not used: it comes from the same network, or is replaced by the network's result.

    Args:
        settings: those of NetworkIO, and those of the network start (weights, network, like and
            constructor options), which say whose weights to train.

    Raises:
        RegRefineError: a setting is wrong, or the weights are not named or cannot be loaded.
        Cancelled: the report callback dropped the run.
    """
    options, loaded = split(NetworkIO, settings, "refinement network-io")
    grid = network_grid(pair.geometry, loaded.preprocessing, loaded.network)
    return optimise(loaded.network, pair, grid, options, report)


def optimise(
    network: RegistrationNetwork, pair: Pair, grid: NetworkGrid, options: NetworkIO, report: Report
) -> Refined:
    """Return the result of a copy of `network` after the steps; `network` itself is unchanged.

    The loss is measured before every step and after the last: steps + 1 records.
    """
    own = copy.deepcopy(network).to(pair.device).eval().requires_grad_(True)
    objective = _Objective(own, _Images.of(pair, grid, own), options)
    adam = torch.optim.Adam(own.parameters(), lr=options.learning_rate)
    run = _Run(grid, options, report)
    for step in range(options.steps + 1):
        last = step == options.steps
        with torch.set_grad_enabled(not last):
            terms, displacement = objective()
        try:
            run.settle(step, terms, displacement)
        except Stopped:
            return run.result("stopped")
        if not last:
            adam.zero_grad()
            terms["total"].backward()
            adam.step()
    return run.result("all steps done")


@dataclass(frozen=True, eq=False)
class _Images:
    """Both images and masks on the grid where the loss is measured; `padded` is the network's."""

    moving: Tensor
    fixed: Tensor
    moving_mask: Tensor | None
    fixed_mask: Tensor | None
    padded: tuple[int, int, int]

    @classmethod
    def of(cls, pair: Pair, grid: NetworkGrid, network: RegistrationNetwork) -> _Images:
        """Return the pair as input to `network`, squeezed if the network squeezes."""
        squeezed = network.squeezed

        def mask(given: Tensor | None) -> Tensor | None:
            return None if given is None else squeezed(grid.images(given))

        moving, fixed = grid.both(pair)
        padded = (fixed.shape[2], fixed.shape[3], fixed.shape[4])
        masks = mask(pair.moving_mask), mask(pair.fixed_mask)
        return cls(squeezed(moving), squeezed(fixed), *masks, padded)


class Found(NamedTuple):
    """A displacement in voxels, and the same as a function of the unit cube's points."""

    displacement: Tensor
    offset: Callable[[Tensor], Tensor]


def find(network: RegistrationNetwork, moving: Tensor, fixed: Tensor) -> Found:
    """Return the network's mapping; images (1, 1, D, H, W) on its grid."""
    mapping = network.mapping(moving, fixed)
    return Found(mapping.displacement(fixed), mapping.offset)


class _Objective:
    """The terms of L by name, and the displacement on the pair's grid that they belong to."""

    def __init__(self, network: RegistrationNetwork, images: _Images, options: NetworkIO) -> None:
        self.network, self.images, self.options = network, images, options
        self.similarity = registry.find("similarity", options.similarity)
        self.generator = torch.Generator().manual_seed(options.seed)

    def __call__(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return similarity, regulariser and total (scalars), and the displacement in voxels."""
        images = self.images
        there = find(self.network, images.moving, images.fixed)
        similarity = self._similarity(images.fixed, images.moving, there, images.fixed_mask)
        if self.options.regulariser == GRADICON:
            back = find(self.network, images.fixed, images.moving)
            similarity = similarity + self._similarity(
                images.moving, images.fixed, back, images.moving_mask
            )
            penalty = self._gradicon(there, back)
        else:
            penalty = registry.find("regulariser", self.options.regulariser)(there.displacement)
        total = similarity + self.options.regulariser_weight * penalty
        terms = {"similarity": similarity, "regulariser": penalty, "total": total}
        return terms, resize(there.displacement.detach(), images.padded)

    def _similarity(
        self, still: Tensor, moved: Tensor, found: Found, mask: Tensor | None
    ) -> Tensor:
        return self.similarity(still, warp(moved, found.displacement), mask)

    def _gradicon(self, there: Found, back: Found) -> Tensor:
        noise = torch.randn(there.displacement.shape, generator=self.generator)
        return gradicon(there, back, noise.to(there.displacement))


def gradicon(there: Found, back: Found, noise: Tensor) -> Tensor:
    """Return GradICON of both directions on every second voxel, moved by the noise; a scalar."""
    points = cube_points(there.displacement, noise, stride=2)
    return gradicon_of_offsets(there.offset, back.offset, points)


@dataclass
class _Run:
    """The history of a run, and the field that is kept as its result."""

    grid: NetworkGrid
    options: NetworkIO
    report: Report
    history: list[dict[str, float]] = field(default_factory=list)
    least: float = float("inf")
    chosen: Tensor | None = None

    def settle(self, step: int, terms: dict[str, Tensor], found: Tensor) -> None:
        """Record and report the result of a step, `found` on the network's padded grid."""
        values = {name: float(term.detach()) for name, term in terms.items()}
        displacement = self.grid.displacement(found)
        if self.options.keep == "last" or values["total"] < self.least or self.chosen is None:
            self.least, self.chosen = values["total"], displacement
        self.history.append({"step": float(step), **values})
        steps = self.options.steps + 1
        self.report(Progress("refine", step, steps, loss=values, displacement=displacement))

    def result(self, because: str) -> Refined:
        """Return the kept field and the history."""
        if self.chosen is None:
            raise ValueError("no step was settled")
        return Refined(self.chosen, self.history, because)
