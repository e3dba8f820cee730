"""Memory and processors that this process may use, given container and batch-job limits.

The machine's totals are misleading if a container (cgroup version 1 or 2), a shell (`ulimit -v`,
`ulimit -d`) or a batch system (Slurm, Grid Engine, PBS, LSF) allows less: a process that relies on
them is killed. Does not import torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

ROOT = Path("/")
# version 1 writes "no limit" as the largest multiple of a page
_UNLIMITED = 2**60
# variables in which a batch system states how many processors the job has
_BATCH_CPUS = ("SLURM_CPUS_PER_TASK", "NSLOTS", "PBS_NP", "NCPUS", "LSB_DJOB_NUMPROC")
THREADS_VARIABLE = "REGREFINE_THREADS"


def free_memory(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Return the bytes that this process can still allocate: the smallest of all limits.

    Args:
        root: the folder that contains /proc and /sys.
        environment: the variables in which Slurm states the job's memory.
    """
    process = psutil.Process()
    room = [int(psutil.virtual_memory().available)]
    room += _cgroup_room(root)
    room += _resource_room(process)
    allowed = slurm_memory(environment)
    if allowed is not None:
        room.append(allowed - _resident(process))
    return max(0, min(room))


def processors(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads this process should use, at least 1.

    This is REGREFINE_THREADS if set; otherwise the smallest of the number of processors in the
    process's affinity mask, its container's quota and its batch job's share.
    """
    asked = _count(environment.get(THREADS_VARIABLE))
    if asked:
        return asked
    found = [_affinity(), *_cgroup_processors(root)]
    found += [n for n in map(_count, (environment.get(v) for v in _BATCH_CPUS)) if n]
    return max(1, min(found))


def slurm_memory(environment: Mapping[str, str]) -> int | None:
    """Return the bytes that Slurm gives the job on this node; None outside Slurm or without limit.

    Slurm states megabytes, for each node or for each processor; 0 means the whole node.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    node = _count(environment.get("SLURM_MEM_PER_NODE"))
    if node:
        return node * 2**20
    each = _count(environment.get("SLURM_MEM_PER_CPU"))
    here = environment.get("SLURM_CPUS_ON_NODE") or environment.get("SLURM_CPUS_PER_TASK")
    return each * (_count(here) or 1) * 2**20 if each else None


def _count(text: str | None) -> int:
    """Return the positive integer at the start of a variable's value, as in `4(x2)`; 0 if none."""
    digits = (text or "").strip().split("(")[0]
    return int(digits) if digits.isdigit() else 0


def _affinity() -> int:
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity() or ()) or os.cpu_count() or 1
    return os.cpu_count() or 1


def _resident(process: psutil.Process) -> int:
    """Return the bytes held by the process and its descendants."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _resource_room(process: psutil.Process) -> list[int]:
    """Return the address space and data size still available under `ulimit -v` and `ulimit -d`."""
    if sys.platform == "win32":
        return []
    import resource

    used = process.memory_info()
    limits = [(resource.RLIMIT_AS, used.vms)]
    if sys.platform.startswith("linux"):
        limits.append((resource.RLIMIT_DATA, used.data))
    room = []
    for kind, taken in limits:
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            room.append(soft - taken)
    return room


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups and of their parents.

    Inside a container the kernel may report the host's path, which is not visible there; the limits
    that apply are in those folders that exist between it and the mount's root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if controllers == "":
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        place = mount / path.lstrip("/")
        for folder in (place, *place.parents):
            if folder.is_dir():
                yield folder
            if folder == mount:
                break


def _number(path: Path) -> int | None:
    """Return the number in a kernel file; None for `max`, or if there is no such file."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _statistics(path: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2}
    except (OSError, ValueError):
        return {}


def _cgroup_room(root: Path) -> list[int]:
    """Return the bytes left in each control group; cached files count as free, being evictable."""
    room = []
    for folder in _cgroups(root, "memory"):
        first = folder / "memory.max"
        second = folder / "memory.limit_in_bytes"
        limit = _number(first) if first.exists() else _number(second)
        if limit is None or limit >= _UNLIMITED:
            continue
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        cache = _statistics(folder / "memory.stat")
        files = sum(
            cache.get(f"total_{name}", cache.get(name, 0))
            for name in ("inactive_file", "active_file")
        )
        room.append(limit - max(0, used - files))
    return room


def _cgroup_processors(root: Path) -> list[int]:
    """Return the quotas in whole processors, rounded up: half of one still needs a thread."""
    found = []
    for folder in _cgroups(root, "cpu"):
        try:
            quota, period = map(int, (folder / "cpu.max").read_text(encoding="ascii").split())
        except (OSError, ValueError):  # version 1, or `max`
            quota = _number(folder / "cpu.cfs_quota_us") or 0
            period = _number(folder / "cpu.cfs_period_us") or 0
        if quota > 0 and period > 0:
            found.append(-(-quota // period))
    return found
