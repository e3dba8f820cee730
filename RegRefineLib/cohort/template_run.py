"""From a manifest to a template: everything is checked, then the iterations run on an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import RegRefineError
from ..io.result_folder import check_folder
from ..job import Job
from ..presets import resolve
from .checks import check
from .engine import Where, opened
from .estimate import Estimate, estimate
from .manifest import read_manifest
from .runs import Run
from .template import Built, Inputs, Plan, build

Say = Callable[[str], None]


def prepare_template(
    manifest: str | Path, folder: Path, job: Job, plan: Plan, workers: int | None, say: Say
) -> tuple[Inputs, Estimate]:
    """Check everything and return what a template is made of and what an iteration takes.

    Raises:
        ManifestError: a sentence for each fault of the manifest and its files.
        RegRefineError: the job or the folder is not good; the manifest names pairs.
    """
    resolve(job)
    check_folder(folder)
    read = read_manifest(manifest)
    if read.pairs:
        raise RegRefineError("--template: the manifest names pairs; one of scans is needed")
    if plan.target and not Path(plan.target).exists():
        raise RegRefineError(f"--target: {plan.target} is not there")
    looked = check(read, folder / ".checked.json" if folder.is_dir() else None, say)
    scans = tuple(read.scans.values())
    runs = [Run(scan.id, scan, scan, job, "minimal", plan.bound_mm) for scan in scans]
    return Inputs(scans, looked, folder, job, plan), estimate(runs, looked, folder, workers)


def run_template(inputs: Inputs, size: Estimate, where: Where, say: Say) -> Built:
    """Build the template on an engine; errors as template.build."""
    inputs.folder.mkdir(parents=True, exist_ok=True)
    where = replace(where, workers=size.side_by_side, threads=size.threads, memory=size.memory)
    with opened(where, say) as perform:
        return build(inputs, perform, say)
