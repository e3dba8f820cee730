"""Run time model: seconds by voxels and steps, measured on one core of a server CPU.

Measured with register() on cubes of 40, 64 and 96 voxels with labels, torch 2.13: with more cores a
run is faster than estimated, and for GPUs there is no estimate. Does not import torch;
configurations that were not measured are left out.
"""

from __future__ import annotations

from .job import Job
from .refine.pyramid.settings import Pyramid
from .registry import settings_class
from .settings import read_settings

# (seconds, seconds for each million voxels); of refinements: for each step
AFFINE_S = {"none": (0.0, 0.0), "centre": (0.5, 0.0)}
SEARCHED_AFFINE_S = (3.5, 1.5)
START_S = {"none": (0.0, 0.0), "initial": (0.0, 0.5), "convexadam": (0.5, 0.8)}
STEP_S = {
    "none": (0.0, 0.0),
    "pyramid": (0.003, 0.27),
    "reg-ttr": (0.0, 0.6),
    "convexadam-adam": (0.05, 0.2),
}
# time of a step with these similarities, relative to local correlation
SIMILARITY_FACTOR = {"mind": 2.5}
FINISH_S = (0.1, 0.7)  # with a few structures; 138 of a brain took 3.3 s for each million voxels


def seconds(
    job: Job, fixed_voxels: int, working_voxels: int, work: tuple[int, float] | None = None
) -> float | None:
    """Return the seconds that a run takes on one core; None where nothing is known.

    Args:
        job: resolved (presets.resolve).
        fixed_voxels, working_voxels: of the fixed and of the working grid.
        work: what `effort` returns, where the caller knows more of the pair than the job says.
    """
    start, step = START_S.get(job.start or "none"), STEP_S.get(job.refinement or "none")
    if start is None or step is None:
        return None
    steps, whole = effort(job) if work is None else work
    refine = step[0] * steps + step[1] * whole * working_voxels / 1e6
    refine *= SIMILARITY_FACTOR.get(str(job.settings.get("similarity")), 1.0)
    affine = AFFINE_S.get(job.affine or "none", SEARCHED_AFFINE_S)
    ends = line(affine, fixed_voxels) + line(FINISH_S, fixed_voxels)
    return ends + line(start, working_voxels) + refine


def effort(job: Job) -> tuple[int, float]:
    """Return the number of steps of a job, and the equivalent number at full resolution."""
    kind = settings_class("refinement", job.refinement or "none")
    settings = read_settings(kind, job.settings)
    if isinstance(settings, Pyramid):
        levels = settings.level_list()
        worth = sum(steps / factor**3 for factor, steps in levels)
        worth *= 2.5 if settings.symmetric else 1.0
        return sum(steps for _, steps in levels), worth
    steps = int(getattr(settings, "steps", 0))
    return steps, float(steps)


def line(constants: tuple[float, float], voxels: int) -> float:
    """Return seconds from (seconds, seconds for each million voxels)."""
    return constants[0] + constants[1] * voxels / 1e6
