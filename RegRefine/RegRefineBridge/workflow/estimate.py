"""How long a run will take and how much memory, before it is started.

A model linear in the voxels of the working grid. Where an earlier run of the session used the same
method on the same device, its own times and memory are scaled. Otherwise the constants below are
used: measured with register() of this library on cubes of 40, 64 and 96 voxels with labels, torch
2.13, seconds of one core of a server's CPU: with more cores a run is quicker than said. What was
not measured is not guessed: None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from RegRefineLib.job import Job
from RegRefineLib.memory_model import bytes_per_voxel
from RegRefineLib.presets import resolve

from ..i18n import _
from .history import Run
from .interfaces import PairSize
from .job_choices import effortOf, stepsOf
from .progress import timeWords

# (seconds, seconds for each million voxels) on one core; of refinements: for each step
AFFINE_S = {"none": (0.0, 0.0), "centre": (0.5, 0.0)}
SEARCHED_AFFINE_S = (3.5, 1.5)
START_S = {"none": (0.0, 0.0), "initial": (0.0, 0.5), "convexadam": (0.5, 0.8)}
STEP_S = {
    "none": (0.0, 0.0),
    "pyramid": (0.003, 0.27),
    "reg-ttr": (0.0, 0.6),
    "convexadam-adam": (0.05, 0.2),
}
# a step that compares by these takes so many times as long as by local correlation
SIMILARITY_FACTOR = {"mind": 2.5}
FINISH_S = (0.1, 0.7)  # with a few structures; 138 of a brain took 3.3 s for each million voxels
# MB of the process with torch and its libraries loaded
BASE_MB = 450.0


@dataclass(frozen=True)
class Estimate:
    """What a run will take; None where nothing is known.

    Attributes:
        voxels: of the working grid.
        measured: whether an earlier run of this session on this device is the source.
    """

    voxels: int
    seconds: float | None
    memoryMb: float | None
    measured: bool = False

    def words(self) -> str:
        """Return the estimate as a sentence for the panel."""
        parts = [_("{count:.1f} million voxels").format(count=self.voxels / 1e6)]
        if self.seconds is not None:
            parts.append(_("about {time}").format(time=timeWords(self.seconds)))
        if self.memoryMb is not None:
            parts.append(_("about {size:.1f} GB of memory").format(size=self.memoryMb / 1024))
        if self.seconds is None:
            parts.append(_("time not known before a first run"))
        source = _("as the last run was") if self.measured else ""
        return ", ".join([*parts, *filter(None, [source])])


def workingVoxels(size: PairSize, spacingMm: float | None) -> int:
    """Return how many voxels the working grid has: the fixed grid's, or fewer where coarser."""
    count = float(size.fixedVoxels)
    for spacing in size.spacing:
        count *= min(1.0, spacing / spacingMm) if spacingMm else 1.0
    return max(1, round(count))


def estimate(size: PairSize, job: Job, runs: Iterable[Run] = ()) -> Estimate:
    """Return what a run of this job on volumes of this size will take.

    Args:
        runs: earlier runs, the oldest first.
    """
    whole = resolve(job)
    voxels = workingVoxels(size, whole.working_spacing_mm)
    alike = [run for run in runs if _alike(run, whole)]
    if alike:
        return _scaled(alike[-1], size, whole, voxels)
    if whole.device not in ("cpu", "auto"):
        return Estimate(voxels, None, _memory(whole, voxels))
    return Estimate(voxels, _seconds(whole, size, voxels), _memory(whole, voxels))


def _alike(run: Run, job: Job) -> bool:
    same = all(
        getattr(run.job, name) == getattr(job, name)
        for name in ("affine", "start", "refinement", "inverse")
    )
    return same and not run.stopped and job.device in ("auto", run.device)


def _scaled(run: Run, size: PairSize, job: Job, voxels: int) -> Estimate:
    before = workingVoxels(run.size, run.job.working_spacing_mm)
    ratio, whole = voxels / before, size.fixedVoxels / run.size.fixedVoxels
    steps = effortOf(job) / (effortOf(run.job) or 1.0) if effortOf(job) else 1.0
    factors = {"refine": ratio * steps, "start": ratio, "affine": 1.0}
    seconds = sum(spent * factors.get(stage, whole) for stage, spent in run.seconds.items())
    peak = float(run.record.get("peak_memory_mb") or 0.0)
    memory = BASE_MB + max(0.0, peak - BASE_MB) * max(ratio, whole) if peak else None
    return Estimate(voxels, seconds, memory, measured=True)


def _seconds(job: Job, size: PairSize, voxels: int) -> float | None:
    start, step = START_S.get(job.start or "none"), STEP_S.get(job.refinement or "none")
    if start is None or step is None:
        return None
    affine = AFFINE_S.get(job.affine or "none", SEARCHED_AFFINE_S)
    refine = step[0] * stepsOf(job) + step[1] * effortOf(job) * voxels / 1e6
    refine *= SIMILARITY_FACTOR.get(str(job.settings.get("similarity")), 1.0)
    ends = _line(affine, size.fixedVoxels) + _line(FINISH_S, size.fixedVoxels)
    return ends + _line(start, voxels) + refine


def _line(constants: tuple[float, float], voxels: int) -> float:
    return constants[0] + constants[1] * voxels / 1e6


def _memory(job: Job, voxels: int) -> float | None:
    needed = bytes_per_voxel(job)
    return None if needed is None else BASE_MB + needed * voxels / 2**20
