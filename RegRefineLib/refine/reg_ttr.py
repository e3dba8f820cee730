"""Reg-TTR: a few Adam steps on NCC + SSIM + smoothness refine a start (arXiv 2601.19114).

    L(u) = l1 * NCC(I_f, I_m o u) + l2 * (1 - SSIM(I_f, I_m o u)) + l3 * smooth(u)

over the displacement itself, one vector per voxel (or per grid_sp voxels). The paper and the
published program differ in details; each is a setting, and the presets `reg-ttr-released`,
`reg-ttr-paper` and `reg-ttr-mended` are rows of such settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import registry
from ..errors import Stopped
from ..job import Progress
from ..losses.ncc import multi_window_terms
from ..losses.smoothness import gradient_l1, gradient_l2
from ..losses.ssim import SSIM
from ..losses.windowed import WindowedSimilarity
from ..ops.warp import warp
from ..pair import Pair, Refined, Report, compared
from ..settings import Conditions, read_settings
from .settings import NCC_SSIM, RegTTR


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start (1, 3, D, H, W) after Reg-TTR's steps, in voxels.

    Raises:
        RegRefineError: a setting is unknown or out of range.
        Cancelled: the report callback dropped the run.
    """
    options = read_settings(RegTTR, settings)
    options.check(Conditions(pair.shape))
    loss = _Loss(pair, options, compared(pair, start))
    parameter = _to_parameter(start, options.grid_sp)
    run = _Run(options, parameter, report)
    try:
        run.descend(loss)
    except Stopped:
        run.because = "stopped by the user"
    return Refined(
        _from_parameter(run.chosen(), options.grid_sp, pair.shape), run.history, run.because
    )


def _to_parameter(start: Tensor, grid_sp: int) -> Tensor:
    size = [max(1, n // grid_sp) for n in start.shape[2:]]
    if grid_sp == 1:
        return start.detach().clone()
    return F.interpolate(start.detach(), size, mode="trilinear", align_corners=False) / grid_sp


def _from_parameter(parameter: Tensor, grid_sp: int, shape: tuple[int, int, int]) -> Tensor:
    if grid_sp == 1:
        return parameter
    return F.interpolate(parameter * grid_sp, shape, mode="trilinear", align_corners=False)


class _Loss:
    """The terms of L by name, for a parameter on the (pooled) grid."""

    def __init__(self, pair: Pair, options: RegTTR, mask: Tensor | None):
        def pool(x: Tensor) -> Tensor:
            return x if options.grid_sp == 1 else F.avg_pool3d(x, options.grid_sp)

        self.options = options
        self.similarity: Callable[[Tensor], Tensor]
        self.moving, fixed = pool(pair.moving), pool(pair.fixed)
        mask = None if mask is None else pool(mask)
        if options.similarity == NCC_SSIM:
            terms = [
                (options.ncc_weight * weight, term)
                for weight, term in multi_window_terms(options.window_list())
            ]
            if options.ssim_weight:
                terms.append((options.ssim_weight, SSIM()))
            self.similarity = WindowedSimilarity(fixed, terms, mask)
        else:
            measure = registry.find("similarity", options.similarity)
            self.similarity = lambda moved: options.ncc_weight * measure(fixed, moved, mask)

    def __call__(self, parameter: Tensor) -> dict[str, Tensor]:
        moved = warp(self.moving, parameter, convention=self.options.warp)
        smooth = gradient_l1 if self.options.smoothness == "l1" else gradient_l2
        return {
            "similarity": self.similarity(moved),
            "smoothness": self.options.smooth_weight * smooth(parameter),
        }


def _lag(device: torch.device, options: RegTTR) -> int:
    """Return how many steps late a loss is read: none if the next step depends on it."""
    return 0 if device.type == "cpu" or options.plateau else 2


class _Run:
    """The descent and its bookkeeping.

    Losses are read late on a GPU (two steps), so that the loop never waits for the device; fields
    are kept until their loss is known.
    """

    def __init__(self, options: RegTTR, parameter: Tensor, report: Report):
        self.options, self.report = options, report
        self.parameter = parameter.requires_grad_()
        kinds = ("cpu", "cuda") if torch.__version__ >= "2.4" else ("cuda",)
        fused = parameter.device.type in kinds  # one kernel instead of a dozen
        self.optimiser = torch.optim.Adam([parameter], lr=options.learning_rate, fused=fused)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.5, patience=2
        )
        self.lag = _lag(parameter.device, options)
        self.pending: deque[_Taken] = deque()
        self.best_field = parameter.detach().clone()
        self.least = float("inf")
        self.without_gain = 0
        self.history: list[dict[str, float]] = []
        self.because = "all steps done"

    def descend(self, loss: _Loss) -> None:
        """Take the steps; evaluate each one as soon as its loss is known."""
        for step in range(self.options.steps):
            self.pending.append(self._step(step, loss))
            while len(self.pending) > self.lag:
                if self._settled_enough():
                    return
        while self.pending:
            if self._settled_enough():
                return

    def _settled_enough(self) -> bool:
        """Evaluate the oldest step; return whether the descent should end with it."""
        self._settle(self.pending.popleft())
        if self.options.patience and self.without_gain >= self.options.patience:
            self.because = f"no gain in {self.options.patience} steps"
            return True
        return False

    def _step(self, step: int, loss: _Loss) -> _Taken:
        keep = self.options.keep
        self.optimiser.zero_grad()
        before = self.parameter.detach()
        if keep == "best" or (keep == "last" and self.lag):
            before = before.clone()
        terms = loss(self.parameter)
        total = terms["similarity"] + terms["smoothness"]
        total.backward()
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_([self.parameter], self.options.clip)
        self.optimiser.step()
        values = _LateValues({**terms, "total": total})
        after = self.parameter.detach().clone() if keep == "after-best" else before
        return _Taken(step, values, before, after)

    def _settle(self, taken: _Taken) -> None:
        terms = taken.values.read()
        total = terms["total"]
        if self.options.plateau and taken.step % 2 == 0:
            self.scheduler.step(total)
        if total < self.least:
            self.least, self.best_field, self.without_gain = total, taken.candidate, 0
        else:
            self.without_gain += 1
        self.history.append({"step": taken.step, **terms})
        steps = self.options.steps
        self.report(Progress("refine", taken.step, steps, loss=terms, displacement=self._present()))

    def _present(self) -> Tensor | None:
        return self.parameter.detach() if self.options.grid_sp == 1 else None

    def chosen(self) -> Tensor:
        """Return the parameter that the run ends with."""
        if self.options.keep == "last" or not self.history:
            # steps taken before the loss that ends the descent was known do not count
            return self.pending[0].before if self.pending else self.parameter.detach()
        return self.best_field


class _Taken(NamedTuple):
    """A step whose loss is pending: the parameter before it, and what is kept if it is best."""

    step: int
    values: _LateValues
    before: Tensor
    candidate: Tensor


class _LateValues:
    """Scalars being copied from the device: requested now, read later without a wait."""

    def __init__(self, values: dict[str, Tensor]):
        self.names = list(values)
        stacked = torch.stack([v.detach() for v in values.values()])
        self.event = None
        if stacked.device.type == "cuda":
            self.host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            self.host.copy_(stacked, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()
        else:
            self.host = stacked

    def read(self) -> dict[str, float]:
        """Return the values by name."""
        if self.event is not None:
            self.event.synchronize()
        return dict(zip(self.names, self.host.tolist(), strict=True))
