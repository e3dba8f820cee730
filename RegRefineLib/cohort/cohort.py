"""cohort(): a manifest and a job go in, a folder with a result for each run comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import RegRefineError
from ..io.result_folder import check_folder
from ..job import Job
from ..presets import resolve
from .checks import Looked, check
from .engine import Where, perform
from .estimate import Estimate, estimate
from .execute import Record, clean, finished
from .manifest import Manifest, read_manifest
from .runs import Run, runs_of, with_target
from .table import rows_of, write_table

Say = Callable[[str], None]
_MEMORY = ".checked.json"


@dataclass(frozen=True)
class Options:
    """How a cohort is run.

    Attributes:
        to: id or file of the scan that all are brought onto; None: the manifest's pairs, or all.
        keep, bound_mm: as in runs.Run.
        workers: runs at a time; None: as many as cores and memory allow.
        only_failed: run what failed before again, and nothing that was never run.
        row: do this one run alone (its number from 1), for job arrays.
        where: another place than this machine; its workers and threads are filled in.
    """

    to: str | None = None
    keep: str = "full"
    bound_mm: float = 0.05
    workers: int | None = None
    only_failed: bool = False
    row: int | None = None
    where: Where = field(default_factory=Where)


@dataclass(frozen=True)
class Prepared:
    """A cohort that was checked: what there is to run and what it will take."""

    manifest: Manifest
    looked: dict[str, Looked]
    runs: tuple[Run, ...]
    records: dict[str, Record]
    todo: tuple[Run, ...]
    estimate: Estimate


def prepare(
    manifest: str | Path, folder: str | Path, job: Job, options: Options, say: Say
) -> Prepared:
    """Check everything and return what there is to do; nothing but the checks' memory is written.

    Raises:
        ManifestError: a sentence for each fault of the manifest and its files.
        RegRefineError: the job, an option or the folder is not good.
    """
    folder = Path(folder)
    resolve(job)
    check_folder(folder)
    read = read_manifest(manifest)
    to = options.to
    if to is not None and to not in read.scans and Path(to).exists():
        read, to = with_target(read, to)
    looked = check(read, folder / _MEMORY if folder.is_dir() else None, say)
    runs = runs_of(read, looked, job, to=to, keep=options.keep, bound_mm=options.bound_mm)
    records = {run.name: found for run in runs if (found := finished(run, folder))}
    todo = _todo(runs, records, folder, options)
    size = estimate(todo, looked, folder, options.workers)
    return Prepared(read, looked, runs, records, todo, size)


def cohort(
    manifest: str | Path,
    folder: str | Path,
    job: Job | None = None,
    options: Options | None = None,
    say: Say = lambda _: None,
) -> list[dict[str, Any]]:
    """Register the scans of a manifest and return the rows of cohort.tsv, which is written too.

    What is there already with the same inputs, job and version is not done again. A script that
    calls this with several workers needs `if __name__ == "__main__":`, as all of Python's
    processes do.

    Args:
        say: told how it goes, a line at a time.

    Raises:
        ManifestError, RegRefineError: as `prepare`; the disk does not hold the results.
    """
    options = options or Options()
    ready = prepare(manifest, folder, job or Job(), options, say)
    return run_prepared(ready, Path(folder), options, say)


def run_prepared(ready: Prepared, folder: Path, options: Options, say: Say) -> list[dict[str, Any]]:
    """Do what `prepare` found to do; arguments and errors as `cohort`."""
    if ready.estimate.disk > ready.estimate.free_disk:
        raise RegRefineError(f"{folder}: the disk is too small: {ready.estimate.sentence()}")
    folder.mkdir(parents=True, exist_ok=True)
    records = dict(ready.records)
    if options.row is None:
        clean(folder)  # not in a job array, whose other rows may be at work
    where = replace(
        options.where,
        workers=ready.estimate.side_by_side if options.row is None else 1,
        threads=ready.estimate.threads,
        memory=ready.estimate.memory,
    )
    count = len(ready.todo)

    def done(record: Record) -> None:
        records[record["run"]] = record
        _remember(folder, record)
        if options.row is None:
            _write(ready, records, folder)
        ended = sum(run.name in records for run in ready.todo)
        say(f"{ended} of {count}: {_line(record)}")

    try:
        if ready.todo:
            perform(ready.todo, folder, where, done, say)
    finally:
        rows = _write(ready, records, folder) if options.row is None else []
    return rows or rows_of([records[run.name] for run in ready.todo])


def _todo(
    runs: Sequence[Run], records: dict[str, Record], folder: Path, options: Options
) -> tuple[Run, ...]:
    if options.row is not None:
        if not 1 <= options.row <= len(runs):
            raise RegRefineError(f"--row: 1 to {len(runs)}, got {options.row}")
        chosen: Sequence[Run] = runs[options.row - 1 : options.row]
    else:
        chosen = runs
    left = tuple(run for run in chosen if run.name not in records)
    return tuple(r for r in left if failure(r, folder)) if options.only_failed else left


def _failures(folder: Path, name: str) -> Path:
    return folder / "failed" / f"{name}.json"


def failure(run: Run, folder: Path) -> Record | None:
    """Return the record of a run that failed before, or None."""
    import json

    try:
        record = json.loads(_failures(folder, run.name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _remember(folder: Path, record: Record) -> None:
    """Keep why a run failed, and forget it once it is done."""
    import json

    path = _failures(folder, record["run"])
    if record["status"] == "failed":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _write(ready: Prepared, records: dict[str, Record], folder: Path) -> list[dict[str, Any]]:
    rows = rows_of([records.get(run.name) or _missing(run, folder) for run in ready.runs])
    write_table(rows, folder)
    return rows


def _missing(run: Run, folder: Path) -> Record:
    record = failure(run, folder)
    if record is not None:
        return record
    return {"run": run.name, "fixed": run.fixed.id, "moving": run.moving.id, "status": "missing",
            "group": run.moving.group, "session": run.moving.session}  # fmt: skip


def _line(record: Record) -> str:
    if record["status"] == "failed":
        return f"{record['run']} failed: {record['reason']}"
    return f"{record['run']} in {record['seconds']:.1f} s"
