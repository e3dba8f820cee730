"""What a run needs: bytes for each voxel of the working grid, measured (Testing/Benchmarks/LOG.md).

Standard library only: Slicer's panel estimates with the same numbers as the plan of a run.
Configurations that were not measured are left out.
"""

from __future__ import annotations

from .job import Job

START_BYTES = {"none": 120.0, "initial": 140.0, "convexadam": 160.0}
INVERSE_BYTES = 141.0  # at the end, on the whole fixed grid
STEP_BYTES = {"none": 180.0, "pyramid": 220.0, "reg-ttr": 360.0, "convexadam-adam": 160.0}
# what the pyramid needs in addition if a setting has one of these values
MORE_BYTES = (("symmetric", ("true", "1"), 100.0), ("similarity", ("mind",), 210.0))


def bytes_per_voxel(job: Job) -> float | None:
    """Return the peak memory of the job's start and refinement; None if it is not known."""
    start = START_BYTES.get(job.start or "none")
    step = STEP_BYTES.get(job.refinement or "none")
    if start is None or step is None:
        return None
    if job.refinement == "pyramid":
        for name, values, more in MORE_BYTES:
            step += more if str(job.settings.get(name)).lower() in values else 0.0
    return max(start, step, INVERSE_BYTES if job.inverse else 0.0)
