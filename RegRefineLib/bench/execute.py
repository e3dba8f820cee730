"""One tool on one pair, run in a process of its own, and its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import RegRefineError
from .cases import Case
from .judge import judged, read_field
from .prealigned import Aligned
from .runners.task import Task
from .tools import Tool

MEASURE = Path(__file__).resolve().parent / "measure.py"
LATE = 124
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def execute(
    tool: Tool, python: Path, case: Case, pair: Aligned, threads: int, limit_s: float
) -> dict[str, Any]:
    """Return the metrics, seconds and memory of a run; of one that failed its `error`."""
    with tempfile.TemporaryDirectory(prefix="regrefine-bench-") as folder:
        place = Path(folder)
        task = Task(
            fixed=str(pair.fixed.resolve()),
            moving=str(pair.moving.resolve()),
            field=str(place / "field.nii"),
            folder=folder,
            threads=threads,
            settings=dict(tool.settings),
            intensity=case.intensity,
            moving_mask=str(pair.mask.resolve()) if pair.mask and tool.mask else "",
        )
        record, error = _measured(tool, python, task, limit_s)
        record["masked"] = bool(task.moving_mask)
        if error:
            return {**record, "error": error}
        try:
            from .prealigned import grid_of

            field = read_field(Path(record.pop("field")), grid_of(pair).geometry)
        except RegRefineError as flaw:
            return {**record, "error": str(flaw)}
        return {**record, **judged(case, field, pair.matrix)}


def _measured(
    tool: Tool, python: Path, task: Task, limit_s: float
) -> tuple[dict[str, Any], str | None]:
    """Return the time and memory that the process used, its report, and the reason if it failed."""
    place = Path(task.folder)
    words = place / "task.json"
    words.write_text(json.dumps(asdict(task)), encoding="utf-8")
    usage, report = place / "usage.json", place / "report.json"
    command = [str(python), str(tool.script), str(words)]
    done = subprocess.run(
        [sys.executable, "-I", str(MEASURE), str(usage), str(limit_s), *command],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=task.folder,
        env={**os.environ, **_environment(tool, task.threads)},
        check=False,
    )
    record = json.loads(usage.read_text(encoding="utf-8")) if usage.exists() else {}
    if done.returncode == LATE:
        return record, f"ended after {limit_s:g} s"
    if done.returncode or not report.exists():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return record, (said[-1] if said else f"ended with {done.returncode}")[:300]
    return {**record, **json.loads(report.read_text(encoding="utf-8"))}, None


def _environment(tool: Tool, threads: int) -> dict[str, str]:
    variables = dict.fromkeys(_THREADS, str(threads))
    if tool.is_peer:
        variables["PYTHONPATH"] = ""
    else:  # the library that runs the benchmark is the one that is measured
        root = str(Path(__file__).resolve().parents[2])
        variables["PYTHONPATH"] = os.pathsep.join(
            [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    return variables
