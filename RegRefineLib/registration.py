"""register(): two volumes and a job go in, a displacement field comes out.

prepare -> affine -> start -> refine -> finish; data flows one way, and every stage reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

from . import memory, registry
from .errors import RegRefineError, Stopped
from .finish import Finish
from .geometry import DisplacementField, FloatArray, Volume
from .inference.load import wanted
from .intensity import choose_intensity
from .job import Extras, Job, Progress, Result
from .linear.search import align
from .live_metrics import Monitor
from .pair import Pair, Refined, Report, ignore
from .plan import plan, smaller_job
from .prepare import check_image, check_matrix, check_overlap, make_pair
from .presets import resolve
from .resample import resample
from .weights.load import locate


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
        RegRefineError: the input cannot be registered, or the job names what does not exist.
    """
    chosen, job = job.intensity, resolve(job)
    given = extras or Extras()
    check_image(fixed, "fixed image")
    check_image(moving, "moving image")
    registry.find("start", job.start or "none")
    registry.find("refinement", job.refinement or "none")
    run = _Run(fixed, moving, given, report)
    job = job.replaced(device=memory.device(job.device))
    torch.manual_seed(job.seed)
    job = run.as_trained(job, chosen)
    matrix = run.linear(job)
    job, why = plan(job, fixed.geometry)
    if why:
        run.warn(why)
    asked = job
    while True:
        try:
            return run.deformable(job, matrix)
        except (MemoryError, RuntimeError) as error:
            job, warning = smaller_job(job, asked, fixed.geometry, error)
            run.warn(warning)


class _Run:
    """One registration: its inputs, clock and warnings."""

    def __init__(self, fixed: Volume, moving: Volume, extras: Extras, report: Report):
        self.fixed, self.moving = fixed, moving
        self.monitor = Monitor(report)
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.extras = self._on_image_grids(extras)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and announce it; the monitor remembers a stop that the answer is."""
        started = time.perf_counter()
        with suppress(Stopped):
            self.monitor(Progress(name))
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def warn(self, sentence: str) -> None:
        """Keep a warning and report it at once."""
        self.warnings.append(sentence)
        with suppress(Stopped):
            self.monitor(Progress("prepare", message=sentence, warning=True))

    def _on_image_grids(self, extras: Extras) -> Extras:
        """Labels and masks on their image's grid, by physical space; a change is a warning."""

        def fit(volume: Volume | None, image: Volume, name: str) -> Volume | None:
            if volume is not None and name.endswith("mask") and not volume.array.any():
                raise RegRefineError(f"{name}: the mask is empty; mark where to compare the images")
            if volume is None or volume.geometry.same_grid(image.geometry):
                return volume
            if volume.geometry.overlap(image.geometry) == 0.0:
                raise RegRefineError(f"{name}: does not overlap its image in space")
            self.warn(f"{name}: on another grid than its image; resampled by position")
            return resample(volume, image.geometry, None, "nearest")

        return Extras(
            fixed_labels=fit(extras.fixed_labels, self.fixed, "fixed labels"),
            moving_labels=fit(extras.moving_labels, self.moving, "moving labels"),
            fixed_mask=fit(extras.fixed_mask, self.fixed, "fixed mask"),
            moving_mask=fit(extras.moving_mask, self.moving, "moving mask"),
            initial=extras.initial,
            fixed_landmarks=extras.fixed_landmarks,
            moving_landmarks=extras.moving_landmarks,
        )

    def as_trained(self, job: Job, chosen: str | None) -> Job:
        """Return the job with the intensities of the network's training, where they are known.

        Those that the user chose stay; where they are others, that is a warning.
        """
        networks = [job.start_settings] if job.start == "network" else []
        for settings in (*networks, job.settings):  # a refinement may have a network of its own
            if not settings.get("weights"):
                continue
            locate(str(settings["weights"]))  # told at once where they are missing
            model = wanted(settings)
            if model is None:
                continue
            if chosen is None:
                return job.replaced(
                    intensity=choose_intensity(model.intensity, self.fixed, self.moving)
                )
            if chosen not in model.intensity:
                ranges = " or ".join(model.intensity)
                self.warn(f"intensity {chosen}: the network was trained with {ranges}")
        return job

    def linear(self, job: Job) -> FloatArray:
        """Return the linear part, 4x4: given, searched for, or the identity."""
        given = self.extras.initial
        kind = job.affine or "none"
        if given is not None:
            matrix = np.eye(4) if isinstance(given, DisplacementField) else check_matrix(given)
            if kind != "none":
                self.warn(f"an initial transform was given, so no {kind} alignment is searched for")
        else:
            if not kind.startswith("centre"):
                check_overlap(self.fixed.geometry, self.moving.geometry, np.eye(4))
            with self.stage("affine"):
                matrix = align(
                    self.fixed,
                    self.moving,
                    kind,
                    intensity=job.intensity or "minmax",
                    extras=self.extras,
                    report=self.monitor,
                )
        if not isinstance(given, DisplacementField):
            check_overlap(self.fixed.geometry, self.moving.geometry, matrix)
        return matrix

    def deformable(self, job: Job, matrix: FloatArray) -> Result:
        """Return the result of the stages after the linear one."""
        memory.start_counting(job.device)
        refined = self._refined(job, matrix)
        for sentence in refined.remarks:
            self.warn(sentence)
        memory.give_back()
        finish = Finish(self.fixed, self.moving, matrix, self.extras)
        with self.stage("finish"):
            outcome = finish.outcome(refined.displacement, job)
        for sentence in finish.doubts(outcome):
            self.warn(sentence)
        return Result(
            affine=matrix,
            history=refined.history,
            seconds=self.seconds,
            peak_memory_mb=memory.peak_mb(job.device),
            device=job.device,
            job=job,
            warnings=self.warnings,
            **outcome,
        )

    def _refined(self, job: Job, matrix: FloatArray) -> Refined:
        """Return what the working grid is there for; nothing else of it is kept."""
        with self.stage("prepare"):
            pair = make_pair(self.fixed, self.moving, matrix, job, self.extras)
            self.monitor.watch(pair)
        with self.stage("start"):
            start = self._start(pair, job)
        with self.stage("refine"):
            refined = self._refine(pair, start, job)
        self.monitor.watch(None)
        return refined

    def _start(self, pair: Pair, job: Job) -> Tensor:
        name = job.start or "none"
        if name == "none" and pair.initial is not None:
            name = "initial"
        if self.monitor.stopped:
            self.warn("stopped before the start; the result is the alignment so far")
            return pair.zero() if pair.initial is None else pair.initial
        predict: Callable[..., Tensor] = registry.find("start", name)
        try:
            return predict(pair, job.start_settings, self.monitor)
        except Stopped:
            self.warn("stopped before the start was ready; the result is the alignment alone")
            return pair.zero()

    def _refine(self, pair: Pair, start: Tensor, job: Job) -> Refined:
        refine: Callable[..., Refined] = registry.find("refinement", job.refinement or "none")
        if self.monitor.stopped:
            return Refined(start, stopped_because="stopped by the user")
        return refine(pair, start, job.settings, self.monitor)
