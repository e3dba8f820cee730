"""What a run will do, settled before its first stage: settings, weights, device, memory."""

from __future__ import annotations

import torch

from .errors import RegRefineError
from .geometry import Geometry
from .job import Job
from .memory import free_bytes, is_out_of_memory
from .memory_model import bytes_per_voxel
from .resample import coarser

_SMALLEST_VOXELS = 32**3


# of the free memory, the share that a plan gives away
_SHARE = 0.7


def plan(job: Job, fixed: Geometry) -> tuple[Job, str]:
    """Return the job on the finest working grid that fits into the free memory, and why.

    The sentence is empty where the job stays as it is: it fits, it names its own working spacing,
    or what it needs or what is free is not known. On a CPU nobody else would ask: a system that
    runs out of memory ends the process.
    """
    needed, free = bytes_per_voxel(job), free_bytes(job.device)
    if job.working_spacing_mm or needed is None or free is None:
        return job, ""
    room = _SHARE * free / needed
    if fixed.voxel_count <= room:
        return job, ""
    spacing = float(fixed.spacing.min())
    while coarser(fixed, spacing).voxel_count > max(room, _SMALLEST_VOXELS):
        spacing *= 1.05
    sentence = (
        f"{needed * fixed.voxel_count / 2**30:.1f} GB of memory are needed at full resolution and "
        f"{free / 2**30:.1f} GB are free on {job.device}; working on {spacing:.3g} mm voxels"
    )
    return job.replaced(working_spacing_mm=spacing), sentence


def smaller_job(job: Job, asked: Job, fixed: Geometry, error: Exception) -> tuple[Job, str]:
    """Return the job to try after memory ran out, and the sentence that says what changed.

    Half the working resolution first, then the CPU at the resolution of the job that was `asked`.

    Raises:
        Exception: `error` itself, where it is not about memory.
        RegRefineError: nothing is left to try.
    """
    if not is_out_of_memory(error):
        raise error
    if job.device.startswith("cuda"):
        torch.cuda.empty_cache()
    spacing = max(job.working_spacing_mm or 0.0, float(fixed.spacing.min()))
    halved = spacing * 2
    if fixed.voxel_count * (float(fixed.spacing.min()) / halved) ** 3 >= _SMALLEST_VOXELS:
        changed = job.replaced(working_spacing_mm=halved)
        return changed, f"memory ran out on {job.device}; trying {halved:g} mm voxels"
    if job.device != "cpu":
        changed = job.replaced(device="cpu", working_spacing_mm=asked.working_spacing_mm)
        return changed, f"memory ran out on {job.device}; going on with the CPU"
    raise RegRefineError(
        "memory ran out even at low resolution; close other programs or crop the images"
    ) from error
