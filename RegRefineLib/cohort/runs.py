"""What a cohort runs: pairs of scans with a job, each known by the hash of all that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RegRefineError
from ..job import Job
from .checks import Looked
from .manifest import Manifest, Pair, Scan

KEEP = ("minimal", "full")


@dataclass(frozen=True)
class Run:
    """One registration of a cohort; all in it can be sent to another process.

    Attributes:
        name: of its folder: from-MOVING_to-FIXED, as BIDS derivatives are named.
        fixed, moving: scans; the moving one's `initial` is the transform to start from.
        job: what to do.
        keep: minimal (a compact field, the linear part, metrics) or full (all files).
        bound_mm: how far the compact field may be from the one that was found.
        digest: of inputs, job, version and `keep`; a result with the same one is this run's.
    """

    name: str
    fixed: Scan
    moving: Scan
    job: Job
    keep: str = "full"
    bound_mm: float = 0.05
    digest: str = ""


def runs_of(
    manifest: Manifest,
    looked: Mapping[str, Looked],
    job: Job,
    *,
    to: str | None = None,
    keep: str = "full",
    bound_mm: float = 0.05,
) -> tuple[Run, ...]:
    """Return the runs: all to one, the manifest's pairs, or else all pairs in both directions.

    Args:
        looked: what checks.check found; its hashes go into the digest.
        to: id of the scan that all others are brought onto.

    Raises:
        RegRefineError: no such id, or nothing to run.
    """
    if keep not in KEEP:
        raise RegRefineError(f"keep: one of {', '.join(KEEP)}, got {keep!r}")
    if to is not None and manifest.pairs:
        raise RegRefineError("--to: the manifest names pairs itself; leave --to away")
    if to is not None and to not in manifest.scans:
        raise RegRefineError(f"--to: {to!r} is neither a file nor an id of the manifest")
    runs = []
    for pair in _pairs(manifest, to):
        fixed, moving = manifest.scans[pair.fixed], manifest.scans[pair.moving]
        if pair.initial:
            moving = replace(moving, initial=pair.initial)
        run = Run(f"from-{moving.id}_to-{fixed.id}", fixed, moving, job, keep, bound_mm)
        hashes = {fixed.id: looked[fixed.id].hashes, moving.id: looked[moving.id].hashes}
        runs.append(replace(run, digest=digest_of(run, hashes)))
    if not runs:
        raise RegRefineError("nothing to run: two scans or more are needed")
    return tuple(runs)


def digest_of(run: Run, hashes: Mapping[str, Mapping[str, str]]) -> str:
    """Return the hash of everything that decides a run's result."""
    decides: dict[str, Any] = {
        "fixed": dict(hashes[run.fixed.id]),
        "moving": dict(hashes[run.moving.id]),
        "initial": run.moving.initial,
        "job": run.job.to_json(),
        "version": __version__,
        "keep": [run.keep, run.bound_mm],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def with_target(manifest: Manifest, path: str) -> tuple[Manifest, str]:
    """Return the manifest with a file as one more scan, and the id that it has got."""
    image = str(Path(path).absolute())
    for scan in manifest.scans.values():
        if scan.image == image:
            return manifest, scan.id
    name = "target"
    while name in manifest.scans:
        name += "-"
    scans = {**manifest.scans, name: Scan(name, image)}
    return replace(manifest, scans=scans), name


def _pairs(manifest: Manifest, to: str | None) -> tuple[Pair, ...]:
    if manifest.pairs:
        return manifest.pairs
    ids = list(manifest.scans)
    if to is not None:
        return tuple(Pair(to, other) for other in ids if other != to)
    return tuple(Pair(a, b) for a in ids for b in ids if a != b)
