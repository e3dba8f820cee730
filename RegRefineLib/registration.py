"""register(): two volumes and a job go in, a displacement field comes out.

plan -> prepare -> linear -> start -> refine -> finish; data flows one way, and every stage reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import memory, provenance, registry
from .errors import RegRefineError, Stopped
from .finish import Finish
from .geometry import DisplacementField, FloatArray, Volume
from .intensity import scaled
from .job import Extras, Job, Progress, Result
from .kernels.announce import compiling_announced
from .linear.plausible import doubts
from .linear.search import align
from .live_metrics import Monitor
from .pair import Pair, Refined, Report, ignore
from .plan import Plan, plan, smaller_job
from .planar import is_slice, register_slices
from .prepare import check_overlap, make_pair, on_image_grids
from .settings import read_settings
from .start_kept import best_so_far, better_of


def register(
    fixed: Volume,
    moving: Volume,
    job: Job,
    report: Report = ignore,
    extras: Extras | None = None,
) -> Result:
    """Return the field that takes fixed points to moving points, with metrics before and after.

    Args:
        job: what to do; empty fields come from its preset.
        report: called at every step; it may raise Stopped (keep the best so far) or Cancelled.

    Raises:
        RegRefineError: the input cannot be registered, or the job cannot be done as it is; plan.py
            raises it before the first report.
    """
    if is_slice(fixed) or is_slice(moving):
        return register_slices(fixed, moving, job, report, extras or Extras(), register)
    run = _Run(fixed, moving, report)
    with run.timed("plan"):
        given, moved = on_image_grids(extras or Extras(), fixed, moving)
        planned = plan(fixed, moving, job, given)
    for sentence in (*moved, *planned.warnings):
        run.warn(sentence)
    torch.manual_seed(planned.job.seed)
    with memory.full_float32(), compiling_announced(run.monitor.say):
        run.prepare(planned.job)
        matrix = run.linear(planned.job, given)
        return _within_memory(run, planned, matrix, given)


def _within_memory(run: _Run, planned: Plan, matrix: FloatArray, extras: Extras) -> Result:
    """Return the result of the job, or of the first smaller one that fits into memory."""
    asked = planned.job
    while True:
        try:
            return run.deformable(planned, matrix, extras)
        except (MemoryError, RuntimeError) as error:
            smaller, warning = smaller_job(planned.job, asked, run.fixed.geometry, error)
        # only now has Python dropped the traceback, which holds the failed attempt's tensors
        run.monitor.watch(None)
        for loaded in planned.networks.values():
            loaded.network.cpu()
        memory.release(planned.job.device)
        planned = planned._replace(job=smaller)
        run.warn(warning)


class _Run:
    """One registration: its images, clock and warnings."""

    def __init__(self, fixed: Volume, moving: Volume, report: Report):
        self.fixed, self.moving = fixed, moving
        self.monitor = Monitor(report)
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self._scaled: tuple[Volume, Volume] | None = None
        self._device = "cpu"

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's run time to that of a stage, including work queued on the device."""
        started = time.perf_counter()
        try:
            yield
            memory.synchronise(self._device)
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time and announce a stage; the monitor remembers if the callback asks to stop."""
        with self.timed(name):
            with suppress(Stopped):
                self.monitor(Progress(name))
            yield

    def warn(self, sentence: str) -> None:
        """Keep a warning and report it at once."""
        self.warnings.append(sentence)
        with suppress(Stopped):
            self.monitor(Progress("prepare", message=sentence, warning=True))

    def prepare(self, job: Job) -> None:
        """Scale the intensities of both images, once for the linear and the deformable stages."""
        with self.timed("prepare"):
            intensity = job.intensity or "minmax"
            self._scaled = scaled(self.fixed, intensity), scaled(self.moving, intensity)

    def linear(self, job: Job, extras: Extras) -> FloatArray:
        """Return the linear part, 4x4: given, searched for, or the identity."""
        given = extras.initial
        if given is not None:
            is_field = isinstance(given, DisplacementField)
            return np.eye(4) if is_field else np.asarray(given, dtype=np.float64)
        with self.stage("affine"):
            matrix = align(
                *self._images(job),
                job.affine or "none",
                intensity="none",  # scaled already
                extras=extras,
                report=self.monitor,
            )
        check_overlap(self.fixed.geometry, self.moving.geometry, matrix)
        for sentence in doubts(matrix):
            self.warn(sentence)
        return matrix

    def deformable(self, planned: Plan, matrix: FloatArray, extras: Extras) -> Result:
        """Return the result of the stages after the linear one."""
        job = planned.job
        self._device = job.device
        memory.start_counting(job.device)
        refined = self._refined(planned, matrix, extras)
        for sentence in refined.remarks:
            self.warn(sentence)
        memory.give_back()
        with self.stage("finish"):
            result = self._finished(refined, Finish(self.fixed, self.moving, matrix, extras), job)
        for sentence in result.warnings:
            self.warn(sentence)
        return replace(
            result,
            seconds=self.seconds,
            peak_memory_mb=memory.peak_mb(job.device),
            warnings=self.warnings,
            provenance={
                "finished": provenance.now(),
                "machine": provenance.machine(),
                "references": provenance.references(job),
            },
        )

    def _finished(self, refined: Refined, finish: Finish, job: Job) -> Result:
        """Return the result, made on the CPU where the device has no memory left for it.

        The result is computed on the whole fixed grid, whatever the working grid was, so a smaller
        job would not help.

        Raises:
            RegRefineError: the CPU's memory is not enough either.
        """
        if refined.displacement.device.type != "cpu":
            try:
                return finish.result(refined, job)
            except (MemoryError, RuntimeError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            refined = replace(refined, displacement=refined.displacement.cpu())
            memory.release(job.device)
            self.warn(f"memory ran out on {job.device} at the end; the CPU makes the result")
        try:
            return finish.result(refined, job)
        except (MemoryError, RuntimeError) as error:
            if not memory.is_out_of_memory(error):
                raise
            raise RegRefineError(
                "memory ran out while the result was made at full resolution; close other "
                "programs, crop the fixed image, or leave out the inverse and the Jacobian"
            ) from error

    def _images(self, job: Job) -> tuple[Volume, Volume]:
        """Return the scaled images, recomputed if a failed attempt has dropped them."""
        if self._scaled is None:
            self.prepare(job)
        return self._scaled  # type: ignore[return-value]

    def _refined(self, planned: Plan, matrix: FloatArray, extras: Extras) -> Refined:
        """Return the refined displacement; nothing else on the working grid is kept."""
        with self.stage("prepare"):
            images, self._scaled = self._images(planned.job), None
            pair = make_pair(*images, matrix, planned.job, extras)
            del images
            self.monitor.watch(pair)
        with self.stage("start"):
            start = self._start(pair, planned)
        with self.stage("refine"):
            refined = self._refine(pair, start, planned)
            if extras.initial is not None and not _guided(planned.job):
                refined = better_of(pair, start, refined)
        self.monitor.watch(None)
        return refined

    def _start(self, pair: Pair, planned: Plan) -> Tensor:
        name = planned.job.start or "none"
        if name in ("none", "initial"):
            name = "none" if pair.initial is None else "initial"
        if self.monitor.stopped:
            self.warn("stopped before the start; the result is the alignment so far")
            return pair.zero() if pair.initial is None else pair.initial
        predict: Callable[..., Tensor] = registry.find("start", name)
        settings = _with_network(planned.job.start_settings, planned, "start")
        try:
            return predict(pair, settings, self.monitor)
        except Stopped:
            self.warn("stopped before the start was ready; the result is the alignment alone")
            return pair.zero()

    def _refine(self, pair: Pair, start: Tensor, planned: Plan) -> Refined:
        if self.monitor.stopped:
            return best_so_far(pair, start, Refined(start, stopped_because="stopped by the user"))
        name = planned.job.refinement or "none"
        refine: Callable[..., Refined] = registry.find("refinement", name)
        settings = _with_network(planned.job.settings, planned, "refinement")
        refined = refine(pair, start, settings, self.monitor)
        return best_so_far(pair, start, refined) if self.monitor.stopped else refined


def _guided(job: Job) -> bool:
    """Return whether labels or landmarks outweigh the images, which then are no criterion."""
    kind = registry.settings_class("refinement", job.refinement or "none")
    settings = read_settings(kind, job.settings)
    return any(getattr(settings, name, 0) > 0 for name in ("labels", "landmarks"))


def _with_network(settings: dict[str, Any], planned: Plan, method: str) -> dict[str, Any]:
    """Return the settings with the network that the plan has loaded in place of its weights."""
    network = planned.networks.get(method)
    return settings if network is None else {**settings, "weights": network}
