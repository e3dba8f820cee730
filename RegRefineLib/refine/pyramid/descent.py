"""The project's own refinement: coarse-to-fine descent by small compositive, diffeomorphic steps.

At every level of an image pyramid and at every step

    J   = I_m o phi                               the moving image through the present map
    g   = K_s * ( dL/dJ M grad J )                the force, smoothed (fluid regularisation)
    d   = -rate M K_s * ( g / max(|g|, q g0) )    limited in length, smoothed
    e   = lambda M^2 w(l) grad l                  evening out the change of volume, l = ln det D phi
    phi = K_e * ( phi o (id + d + e) )            composed, then smoothed (elastic regularisation)

grad J is the gradient of the warped image, as a compositive update requires (Avants 2008,
doi:10.1016/j.media.2007.06.004; Yushkevich's greedy likewise), so nothing is differentiated through
the sampling. Forces of at least q times the typical length g0 take full steps; weaker ones, in flat
and noisy regions, take shorter steps. A step size per voxel, as in Adam (Jena 2024, arXiv
2404.01249), would move such regions as far as edges: twice the roughness at the same overlap. The
diffusion of ln det (ops/volume_change.py) damps only changes of volume, so that the Gaussian K_e,
which also removes detail and shear, can be narrow. M, the smallest voxel edge divided by each
axis's own, converts gradients to millimetres and lengths back to voxels, so that in a stack of
thick slices a step across the slices is no longer than one within them. Steps are a fraction of a
voxel, so each is invertible and so is their composition; the few folds of a discrete grid are
repaired (ops/folds.py).

settings.py names the settings, level.py holds the images of a level, greedy_step.py takes the
steps. Optional are landmarks as forces (landmark_force.py), segmentations as forces
(label_force.py) and a symmetric descent (symmetric.py). The pair itself decides whether its images
are of one kind (contrast.py), and whether the result is better than the start (measure.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ...errors import Stopped
from ...job import Progress
from ...ops.folds import repair_folds
from ...ops.warp import compose, resize, warp
from ...pair import Pair, Refined, Report
from ...resample import coarser
from ...settings import read_settings
from .contrast import contrast_of
from .label_force import numbered, warped
from .landmark_force import inverse_points
from .level import Level, Shape
from .measure import verdicts
from .settings import ONE_KIND, Pyramid
from .symmetric import across

SMALL_VOXELS = 64**3


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start (1, 3, D, H, W) after the descent, in voxels.

    Raises:
        RegRefineError: a setting is unknown or out of range, or needs input that was not given.
        Cancelled: the report callback dropped the run.
    """
    start = start.detach()
    options, chosen = _settled(pair, start, read_settings(Pyramid, settings))
    descent = _Descent(pair, start, options, report)
    because = "all steps done"
    try:
        descent.run()
    except Stopped:
        because = "stopped by the user"
    found, history = repair_folds(descent.whole()), descent.history
    del descent  # frees memory for the comparison at full resolution
    found, kept = _not_worse(pair, start, found, options)
    return Refined(found, history, because, (*chosen, *_remarks(options, pair), *kept))


def _settled(pair: Pair, start: Tensor, options: Pyramid) -> tuple[Pyramid, tuple[str, ...]]:
    """Return the settings, including those determined from the pair, and sentences on them."""
    if options.information >= 0 or options.similarity != "ncc":
        return options, ()
    found = contrast_of(pair, start)
    if not found.two_kinds:
        return replace(options, information=ONE_KIND), ()
    return replace(options, similarity="mutual-information"), (
        f"the images are of two kinds (correlation {found.whole:.2f} within the body): mutual "
        "information is used, as with the preset multimodal; set information=0.1 if they are not",
    )


def _not_worse(
    pair: Pair, start: Tensor, found: Tensor, options: Pyramid
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the better of start and result, and a sentence if that is the start.

    If labels or landmarks drove the descent, the images alone cannot judge it.
    """
    if options.labels > 0 or options.landmarks > 0 or not bool(torch.isfinite(found).all()):
        return found, ()
    before, after = verdicts(pair, [start, found], options)
    if not after.is_worse_than(before):
        return found, ()
    what = "loss" if after.loss > before.loss else "mutual information"
    return start, (
        f"the refinement made the {what} worse at full resolution (loss {before.loss:.4f} -> "
        f"{after.loss:.4f}, mutual information {before.information:.4f} -> "
        f"{after.information:.4f}): its start was kept",
    )


class _Descent:
    """The displacement on the level's grid (two if symmetric), and its history.

    It is estimated for the moving image warped by the start, and composed with the start at the
    end: the coarse levels lose no detail of the start, and smoothing does not draw it back to zero.
    """

    def __init__(self, pair: Pair, start: Tensor, options: Pyramid, report: Report):
        self.start = start if bool(start.any()) else None
        # from here on there are labels only where they guide the descent
        if options.labels > 0:
            pair = numbered(pair)
        else:
            pair = replace(pair, fixed_labels=None, moving_labels=None)
        self.pair = pair if self.start is None else _through(pair, start)
        self.options, self.report = options, report
        self.levels = [self._sized(*level) for level in options.level_list()]
        self.fields = [pair.zero()] * (2 if options.symmetric else 1)
        self.history: list[dict[str, float]] = []
        self.total = sum(steps for _, _, steps in self.levels)
        self.factor = self.levels[0][0]

    def run(self) -> None:
        """Go down the pyramid."""
        planned = 0
        for factor, shape, steps in self.levels:
            self.fields = [resize(u, shape) for u in self.fields]
            self.factor = factor
            self._level(Level(self.pair, self.fields, shape, self.options), planned, steps)
            planned += steps

    def _sized(self, factor: float, steps: int) -> tuple[float, Shape, int]:
        """Return a level with its grid's shape and the steps that it takes there."""
        geometry = self.pair.geometry
        shape = coarser(geometry, factor * float(geometry.spacing.min())).shape
        if steps and self.options.steps < 0 and prod(shape) <= SMALL_VOXELS:
            steps = max(steps, self.options.small_steps)
        return factor, shape, steps

    def whole(self) -> Tensor:
        """Return the start and what was found on it, in voxels of the pair."""
        found = across(*self.fields) if self.options.symmetric else self.fields[0]
        found = resize(found, self.pair.shape)
        return found if self.start is None else compose(self.start, found)

    def _level(self, level: Level, first: int, steps: int) -> None:
        losses: list[float] = []
        for n in range(steps):
            rate = self.options.step * (1.0 - (1.0 - self.options.last_step) * n / steps)
            self.fields, loss = level.step(self.fields, rate)
            losses.append(loss)
            self.history.append({"step": first + n, "level": self.factor, "total": loss})
            self._tell(first + n, loss)
            if self._has_settled(losses):
                return

    def _has_settled(self, losses: list[float]) -> bool:
        back = self.options.patience_steps
        if not back or len(losses) <= back:
            return False
        return losses[-1 - back] - losses[-1] < self.options.gain * abs(losses[-1 - back])

    def _tell(self, step: int, loss: float) -> None:
        whole = self.fields[0].shape[2:] == self.pair.fixed.shape[2:]
        whole = whole and not self.options.symmetric  # an inversion at each step would be expensive
        self.report(
            Progress(
                "refine",
                step,
                self.total,
                loss={"total": loss},
                displacement=self.whole() if whole else None,
            )
        )


def _remarks(options: Pyramid, pair: Pair) -> tuple[str, ...]:
    """Return caveats that a reader of the metrics needs to know."""
    remarks = []
    if options.labels > 0:
        remarks.append(
            f"the segmentations guided this run (labels {options.labels:g}): their Dice says how "
            "well they were followed and is no proof of quality; judge by structures that did not"
        )
    if options.landmarks > 0 and pair.fixed_points is not None and pair.moving_points is not None:
        remarks.append(
            f"the landmarks guided this run (landmarks {options.landmarks:g}): their error says "
            "how well they were followed and is no proof of quality; judge by others"
        )
    return tuple(remarks)


def _through(pair: Pair, start: Tensor) -> Pair:
    """Return the pair with the moving image and all that belongs to it warped by the start."""
    mask, labels, points = pair.moving_mask, pair.moving_labels, pair.moving_points
    return replace(
        pair,
        moving=warp(pair.moving, start, padding="border"),
        moving_mask=None if mask is None else warp(mask, start),
        moving_labels=None if labels is None else warped(labels[0, 0], start)[None, None],
        moving_points=None if points is None else inverse_points(start, points),
    )
