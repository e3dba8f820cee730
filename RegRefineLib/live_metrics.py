"""Live metrics: Dice, folds, roughness and size of the displacement during a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from .errors import Stopped
from .job import Progress
from .ops.warp import jacobian_determinant, warp
from .pair import Pair, Report

# Metrics are computed every so many seconds, unless they cost more than this share of the time.
PERIOD_S, SHARE = 0.5, 0.1


class Monitor:
    """A report callback that adds the clock, the time left and the live metrics to each step."""

    def __init__(self, report: Report):
        self._report = report
        self._began = time.perf_counter()
        self._pair: Pair | None = None
        self._stage, self._stage_began = "", self._began
        self._measured_at, self._cost = float("-inf"), 0.0
        self._metrics: Mapping[str, float] = {}
        self.stopped = False

    def watch(self, pair: Pair | None) -> None:
        """Measure displacements of this pair from now on; None: measure nothing."""
        self._pair = pair

    def __call__(self, progress: Progress) -> None:
        """Pass the step on with metrics; raise what the callback raises, and repeat a stop."""
        now = time.perf_counter()
        if progress.stage != self._stage:
            self._stage, self._stage_began = progress.stage, now
        if progress.displacement is not None and self._pair is not None:
            self._measure(progress.displacement, last=progress.step + 1 == progress.steps)
        complete = replace(
            progress,
            displacement=None,
            metrics={**self._metrics, **progress.metrics},
            elapsed_s=now - self._began,
            eta_s=self._left(progress, now),
        )
        try:
            self._report(complete)
        except Stopped:
            self.stopped = True
            raise
        if self.stopped:
            raise Stopped

    def say(self, sentence: str) -> None:
        """Report a sentence within the present stage; a stop in answer waits for the next step."""
        with suppress(Stopped):
            self(Progress(self._stage or "prepare", message=sentence))

    def _left(self, progress: Progress, now: float) -> float | None:
        done = progress.step + 1
        if not progress.steps or done >= progress.steps:
            return progress.eta_s
        return (now - self._stage_began) / done * (progress.steps - done)

    def _measure(self, displacement: Tensor, last: bool) -> None:
        now = time.perf_counter()
        wait = max(PERIOD_S, self._cost / SHARE)
        if self._pair is None or (now - self._measured_at < wait and not last):
            return
        self._metrics = measured(self._pair, displacement)
        self._measured_at = time.perf_counter()
        self._cost = self._measured_at - now


@torch.no_grad()
def measured(pair: Pair, displacement: Tensor) -> dict[str, float]:
    """Return dice (where labels are), folds, roughness and largest_mm on the working grid.

    `displacement` is (1, 3, D, H, W) in voxels. sd_log_jacobian and det_below_0.1_percent are those
    of metrics/roughness.py; sdlogj is Learn2Reg's, of log(J + 3).
    """
    determinant = jacobian_determinant(displacement)
    spacing = displacement.new_tensor(pair.geometry.spacing[::-1].tolist()).view(1, 3, 1, 1, 1)
    metrics = {
        "folds_percent": 100.0 * float((determinant <= 0).float().mean()),
        "sd_log_jacobian": float(determinant.clamp(1e-2, 1e2).log_().std()),
        "det_below_0.1_percent": 100.0 * float((determinant < 0.1).float().mean()),
        "sdlogj": float(torch.log((determinant + 3).clamp(1e-9, 1e9)).std()),
        "largest_mm": float((displacement * spacing).norm(dim=1).max()),
    }
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        metrics["dice"] = _dice(pair.fixed_labels, pair.moving_labels, displacement)
    return metrics


def _dice(fixed: Tensor, moving: Tensor, displacement: Tensor) -> float:
    """The mean Dice over labels that both maps have; one pass for any number of labels."""
    warped = warp(moving.float(), displacement, mode="nearest").long()
    # negative labels are no structures to the metrics of the end either
    a, before, warped = (x.flatten().clamp_min(0) for x in (fixed.long(), moving.long(), warped))
    count = int(torch.maximum(a.max(), before.max())) + 1
    size_a, size_b = (torch.bincount(x, minlength=count) for x in (a, warped))
    common = torch.bincount(a[a == warped], minlength=count)
    judged = (size_a > 0) & (torch.bincount(before, minlength=count) > 0)
    judged[0] = False
    if not bool(judged.any()):
        return 0.0
    return float((2.0 * common[judged] / (size_a + size_b)[judged]).mean())
