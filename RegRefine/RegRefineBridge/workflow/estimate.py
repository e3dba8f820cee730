"""How long the user will wait for a run and how much memory it takes, before it is started.

Where an earlier run on this machine used the same method on the same device (timings.py), its own
times and memory are scaled. Otherwise the library's model is used (time_model.py), with the time to
hand the volumes to the worker and back. What was not measured is not guessed: None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from RegRefineLib import time_model
from RegRefineLib.job import Job
from RegRefineLib.memory_model import bytes_per_voxel
from RegRefineLib.presets import resolve

from ..i18n import _
from .interfaces import PairSize
from .job_choices import effortOf, stepsOf
from .progress import timeWords
from .timings import Timing, Timings, methodOf

# reading and writing the arrays, handing them to the scene: (seconds, more per million voxels)
TRANSFER_S = (0.5, 0.6)
# torch and its libraries are loaded, compiled loops are read: where the worker is not there yet
WORKER_S = 6.0
LEAST_S = 1.0
# MB of the process with torch and its libraries loaded
BASE_MB = 450.0


@dataclass(frozen=True)
class Estimate:
    """What a run will take; None where nothing is known.

    Attributes:
        voxels: of the working grid.
        measured: whether an earlier run on this machine and device is the source.
    """

    voxels: int
    seconds: float | None
    memoryMb: float | None
    measured: bool = False

    def words(self) -> str:
        """Return the estimate as a sentence for the panel."""
        parts = [voxelWords(self.voxels)]
        if self.seconds is not None:
            parts.append(_("about {time}").format(time=timeWords(self.seconds)))
        if self.memoryMb is not None:
            parts.append(_("about {size:.1f} GB of memory").format(size=self.memoryMb / 1024))
        if self.seconds is None:
            parts.append(_("time not known before a first run"))
        source = _("judging by earlier runs") if self.measured else ""
        return ", ".join([*parts, *filter(None, [source])])


def voxelWords(count: int) -> str:
    """Return a number of voxels for people: 62,000 voxels, 6.9 million voxels."""
    if count >= 500_000:
        return _("{count:.1f} million voxels").format(count=count / 1e6)
    digits = 2 if count >= 10_000 else 1
    rounded = round(count, digits - len(str(count)))
    return _("{count} voxels").format(count=f"{rounded:,}")


def workingVoxels(size: PairSize, spacingMm: float | None) -> int:
    """Return how many voxels the working grid has: the fixed grid's, or fewer where coarser."""
    count = float(size.fixedVoxels)
    for spacing in size.spacing:
        count *= min(1.0, spacing / spacingMm) if spacingMm else 1.0
    return max(1, round(count))


def estimate(
    size: PairSize, job: Job, timings: Timings | None = None, warm: bool = True
) -> Estimate:
    """Return what a run of this job on volumes of this size will take.

    Args:
        timings: earlier runs on this machine.
        warm: whether the worker is there already.
    """
    whole = resolve(job)
    voxels = workingVoxels(size, whole.working_spacing_mm)
    alike = [
        timing
        for timing in timings or ()
        if timing.method == methodOf(whole) and whole.device in ("auto", timing.device)
    ]
    if alike:
        return _scaled(_nearest(alike, voxels), size, whole, voxels)
    if whole.device not in ("cpu", "auto"):
        return Estimate(voxels, None, _memory(whole, voxels))
    seconds = _seconds(whole, size, voxels)
    if seconds is not None:
        seconds = max(LEAST_S, seconds + (0.0 if warm else WORKER_S))
    return Estimate(voxels, seconds, _memory(whole, voxels))


def _nearest(timings: list[Timing], voxels: int) -> Timing:
    """Return the latest of the runs that are nearest in size: scaling far is guessing."""
    return min(
        reversed(timings),
        key=lambda timing: abs(
            math.log(voxels / workingVoxels(timing.size, timing.spacingMm or None))
        ),
    )


def _scaled(timing: Timing, size: PairSize, job: Job, voxels: int) -> Estimate:
    before = workingVoxels(timing.size, timing.spacingMm or None)
    ratio, whole = voxels / before, size.fixedVoxels / timing.fixedVoxels
    effort = effortOf(job, size)
    steps = effort / timing.effort if effort and timing.effort else 1.0
    factors = {"refine": ratio * steps, "start": ratio, "affine": 1.0}
    seconds = sum(spent * factors.get(stage, whole) for stage, spent in timing.seconds.items())
    # of the rest, the worker's start does not grow with the volumes
    fixed = min(timing.overhead, WORKER_S)
    seconds += fixed + (timing.overhead - fixed) * whole
    peak = timing.peakMb
    memory = BASE_MB + max(0.0, peak - BASE_MB) * max(ratio, whole) if peak else None
    return Estimate(voxels, max(LEAST_S, seconds), memory, measured=True)


def _seconds(job: Job, size: PairSize, voxels: int) -> float | None:
    work = stepsOf(job), effortOf(job, size)
    run = time_model.seconds(job, size.fixedVoxels, voxels, work)
    return None if run is None else run + time_model.line(TRANSFER_S, size.fixedVoxels)


def _memory(job: Job, voxels: int) -> float | None:
    needed = bytes_per_voxel(job)
    return None if needed is None else BASE_MB + needed * voxels / 2**20
