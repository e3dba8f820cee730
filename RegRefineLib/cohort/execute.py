"""One run of a cohort: files in, a folder out, whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import traceback
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import Cancelled, RegRefineError
from ..geometry import Volume
from ..io.landmarks import read_landmarks
from ..io.paths import cannot_write
from ..io.result_folder import write_result
from ..io.transforms import read_transform, write_affine
from ..io.volumes import LabelMap, read_labels, read_volume
from ..job import Extras, Progress, Result, finite
from ..registration import register
from .compact import compact, write_compact
from .runs import Run

RUNS, LOGS, ASIDE = "runs", "logs", ".unfinished"
RECORD = "run.json"
_TAIL = 5
# what costs a run and not the cohort: errors of the input, of the machine, and of our own
_FAULTS = (RegRefineError, MemoryError, RuntimeError, OSError, ValueError, TypeError, LookupError,
           ArithmeticError)  # fmt: skip

Record = dict[str, Any]


def execute(run: Run, folder: str | Path) -> Record:
    """Do a run and return its record; what failed has `status` failed and a `reason`.

    The folder runs/NAME is written aside and moved into place when it is whole, so that a process
    that is killed leaves nothing that looks like a result. logs/NAME.log says how far it came.
    """
    folder, started = Path(folder), time.perf_counter()
    log = folder / LOGS / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        report = _Log(file)
        try:
            record = _done(run, folder, report)
        except _FAULTS as error:
            if isinstance(error, Cancelled):
                raise
            file.write(traceback.format_exc())
            reason = " ".join(str(error).split()) or type(error).__name__
            record = {**head(run), "status": "failed", "reason": reason}
    return {**record, "seconds": time.perf_counter() - started}


def tail(folder: Path, name: str) -> str:
    """Return the last lines of a run's log, in one line."""
    path = folder / LOGS / f"{name}.log"
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-_TAIL:] if line.strip())


def finished(run: Run, folder: Path) -> Record | None:
    """Return the record of a run that is done with the same inputs, job and version, or None."""
    path = folder / RUNS / run.name / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(record, dict) and record.get("digest") == run.digest
    return record if same and record.get("status") == "done" else None


def clean(folder: Path) -> None:
    """Remove what runs that were killed left half-written."""
    shutil.rmtree(folder / ASIDE, ignore_errors=True)


class _Log:
    """A report callback that writes stages and warnings, so that a log says how far a run came."""

    def __init__(self, file: Any):
        self._file, self._stage = file, ""

    def __call__(self, progress: Progress) -> None:
        """Write a line where a stage begins or something is said."""
        if progress.message or progress.stage != self._stage:
            self._stage = progress.stage
            self._file.write(f"{time.strftime('%H:%M:%S')} {progress.stage} {progress.message}\n")
            self._file.flush()


def head(run: Run) -> Record:
    """Return which run a record is of."""
    return {
        "run": run.name,
        "fixed": run.fixed.id,
        "moving": run.moving.id,
        "group": run.moving.group,
        "session": run.moving.session,
        "digest": run.digest,
    }


def _done(run: Run, folder: Path, report: _Log) -> Record:
    fixed, fixed_extras = _read_fixed(run.fixed)
    moving, moving_labels, moving_mask, moving_points = _read(run.moving)
    extras = replace(
        fixed_extras,
        fixed_labels=fixed_extras.fixed_labels if moving_labels else None,
        moving_labels=moving_labels.volume if moving_labels else None,
        moving_mask=moving_mask,
        fixed_landmarks=fixed_extras.fixed_landmarks if moving_points is not None else None,
        moving_landmarks=moving_points if fixed_extras.fixed_landmarks is not None else None,
        initial=read_transform(run.moving.initial, fixed.geometry) if run.moving.initial else None,
    )
    result = register(fixed, moving, run.job, report, extras)
    (folder / ASIDE).mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{run.name}-", dir=folder / ASIDE))
    try:
        record = {**head(run), "status": "done", **_written(run, result, aside, moving_labels)}
        text = json.dumps(finite({**record, "inputs": _inputs(run)}), indent=1, allow_nan=False)
        (aside / RECORD).write_text(text + "\n", encoding="utf-8")
        _into_place(aside, folder / RUNS / run.name)
    except OSError as error:
        raise RegRefineError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return record


def _written(run: Run, result: Result, aside: Path, labels: LabelMap | None) -> Record:
    """Write a result's files and return what the record says of them."""
    record: Record = {
        "before": result.before,
        "after": result.after,
        "stages": result.seconds,
        "memory_mb": result.peak_memory_mb,
        "warnings": result.warnings,
    }
    if run.keep == "full":
        write_result(result, aside, labels)
        return record
    small, error = compact(result.field, run.bound_mm)
    write_compact(small, aside / "transform.nrrd")
    write_affine(result.affine, aside / "affine.tfm")
    values = result.to_json()
    values.pop("history")  # steps of the descent: most of the bytes
    text = json.dumps(values, allow_nan=False)
    (aside / "result.json").write_text(text + "\n", encoding="utf-8")
    return {**record, "field_error_mm": error}


def _into_place(aside: Path, target: Path) -> None:
    """Put a finished folder where its results belong; what was there before goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        former = Path(tempfile.mkdtemp(prefix="former-", dir=aside.parent))
        target.replace(former / target.name)
        aside.replace(target)
        shutil.rmtree(former, ignore_errors=True)
    else:
        aside.replace(target)


def _inputs(run: Run) -> dict[str, Any]:
    return {
        "fixed": asdict(run.fixed),
        "moving": asdict(run.moving),
        "job": run.job.to_json(),
    }


@lru_cache(maxsize=1)
def _read_fixed(scan: Any) -> tuple[Volume, Extras]:
    """Return the fixed scan with what comes with it; all to one read it once in each process."""
    image, labels, mask, points = _read(scan)
    return image, Extras(
        fixed_labels=labels.volume if labels else None, fixed_mask=mask, fixed_landmarks=points
    )


def _read(scan: Any) -> tuple[Volume, LabelMap | None, Volume | None, Any]:
    return (
        read_volume(scan.image),
        read_labels(scan.labels) if scan.labels else None,
        read_labels(scan.mask).volume if scan.mask else None,
        read_landmarks(scan.landmarks)[1] if scan.landmarks else None,
    )
