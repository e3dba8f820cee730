"""What a cohort will take: runs side by side, threads for each, disk, time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import limits
from ..memory_model import bytes_per_voxel
from ..presets import resolve
from .checks import Looked
from .runs import Run

# a process with torch and the libraries loaded, before any image
PROCESS_BYTES = 600 * 2**20
_SHARE = 0.8  # of the free memory that the runs may fill together
_UNKNOWN_BYTES = 360.0  # a voxel, where the memory plan does not know the method
# nanoseconds of one core for each voxel: the default pyramid (LOG.md); a coarse guess for others
_NS_PER_VOXEL, _BASE_S = 8000.0, 4.0
# bytes on disk for each voxel of the fixed grid: compact field; or field, image and the rest
_DISK = {"minimal": 0.5, "full": 15.0}


@dataclass(frozen=True)
class Estimate:
    """How the runs fit onto this machine.

    Attributes:
        side_by_side: runs at a time, each in a process.
        threads: of each run, so that all cores are used and not more.
        memory: bytes of the largest run.
        disk: bytes of all results; free_disk: what there is.
        seconds: wall time of all, on this machine.
    """

    runs: int
    side_by_side: int
    threads: int
    memory: int
    disk: int
    free_disk: int
    seconds: float

    def sentence(self) -> str:
        """Return what a user wants to know before the start."""
        took = f"{self.seconds:.0f} seconds"
        if self.seconds >= 120:
            took = f"{self.seconds / 60:.0f} minutes"
        if self.seconds >= 7200:
            took = f"{self.seconds / 3600:.1f} hours"
        return (
            f"{self.runs} runs, {self.side_by_side} at a time with {self.threads} "
            f"thread{'s' if self.threads > 1 else ''} each; the largest needs "
            f"{self.memory / 2**30:.1f} GB of memory; {_size(self.disk)} of disk "
            f"({_size(self.free_disk)} free); about {took} on this machine"
        )


def estimate(
    runs: Sequence[Run], looked: Mapping[str, Looked], folder: Path, workers: int | None = None
) -> Estimate:
    """Return how many runs go side by side and what they take; `workers` overrides the number."""
    cores, gpu = limits.processors(), _is_on_gpu(runs)
    largest = max((_memory_of(run, looked) for run in runs), default=PROCESS_BYTES)
    fitting = int(_SHARE * limits.free_memory() // largest)
    automatic = 1 if gpu else max(1, min(cores, fitting, len(runs) or 1))
    side_by_side = workers or automatic
    threads = max(1, cores // side_by_side)
    voxels = [looked[run.fixed.id].voxels for run in runs]
    disk = sum(int(_DISK[run.keep] * n) for run, n in zip(runs, voxels, strict=True))
    spent = sum(_BASE_S + n * _NS_PER_VOXEL * 1e-9 for n in voxels) / min(cores, side_by_side)
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    return Estimate(len(runs), side_by_side, threads, largest, disk, free, spent)


def _memory_of(run: Run, looked: Mapping[str, Looked]) -> int:
    each = bytes_per_voxel(resolve(run.job)) or _UNKNOWN_BYTES
    voxels = max(looked[run.fixed.id].voxels, looked[run.moving.id].voxels)
    return int(PROCESS_BYTES + each * voxels)


def _is_on_gpu(runs: Sequence[Run]) -> bool:
    """Return whether the runs would share a GPU, which serves one at a time."""
    wanted = runs[0].job.device if runs else "cpu"
    if wanted == "auto":
        from ..memory import device

        wanted = device("auto")
    return wanted != "cpu"


def _size(count: float) -> str:
    for unit, name in ((2**40, "TB"), (2**30, "GB"), (2**20, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1024:.0f} kB"
