"""Every tool on every pair, one process at a time; each result is written at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import Case
from .environments import python_of
from .execute import execute
from .judge import judged, zero_field
from .prealigned import Aligned, aligned, grid_of
from .records import Record, Results, revision
from .tools import Tool, tool_named

START = "start"  # the aligned pair itself, as if from a tool that does nothing
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How to run.

    Attributes:
        folder: for the aligned images.
        environments: where the peers' environments are.
        threads: of every tool.
        limit_s: wall seconds after which a run is ended.
        again: repeat runs that failed before.
    """

    folder: Path
    environments: Path
    threads: int = 2
    limit_s: float = 3600.0
    again: bool = False


def sweep(
    cases: Sequence[Case],
    names: Sequence[str],
    variants: Mapping[str, Mapping[str, Any]],
    results: Results,
    plan: Plan,
    say: Say,
) -> None:
    """Run the named tools and variants on the cases; skip those that `results` contains already.

    A tool whose environment is missing is reported and skipped. A variant without an affine part or
    a mask is skipped silently for pairs that have none anyway.

    Raises:
        RegRefineError: no tool of such a name; a pair that cannot be read.
    """
    tools = {name: tool_named(name, variants) for name in names if name != START}
    ready: dict[str, tuple[Tool, Path]] = {}
    for name, tool in tools.items():
        python = python_of(tool, plan.environments)
        if python is None:
            say(f"{name}: not installed; make its environment with regrefine bench --install")
        else:
            ready[name] = (tool, python)
    for case in cases:
        for name in [START, *ready]:
            key = (case.name, name, plan.threads)
            if key in results and not (plan.again and results.failed(key)):
                continue
            if name in ready and _changes_nothing(ready[name][0], case, plan):
                continue
            record = _base(case, name, plan)
            if name == START:
                record |= _start(case, aligned(case, plan.folder))
            else:
                tool, python = ready[name]
                pair = aligned(case, plan.folder, tool.align)
                record["affine"] = case.affine if tool.align else "none"
                record["affine_revision"] = pair.revision
                record["affine_cpu_s"] = pair.seconds
                record |= execute(tool, python, case, pair, plan.threads, plan.limit_s)
                record["settings"] = dict(tool.settings)
            results.add(record)
            say(line_of(record))


def _changes_nothing(tool: Tool, case: Case, plan: Plan) -> bool:
    """Return whether the tool only omits something that this pair does not have anyway."""
    if not tool.align and case.affine == "none":
        return True
    return not tool.mask and aligned(case, plan.folder, tool.align).mask is None


def _base(case: Case, name: str, plan: Plan) -> Record:
    return {
        "set": case.set_name,
        "case": case.name,
        "tool": name,
        "threads": plan.threads,
        "revision": revision(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _start(case: Case, pair: Aligned) -> Record:
    field = zero_field(grid_of(pair).geometry)
    return {"affine_cpu_s": pair.seconds, **judged(case, field, pair.matrix)}


def line_of(record: Record) -> str:
    """Return one run as a line of text."""
    head = f"{record['case']:32} {record['tool']:20}"
    if "error" in record:
        return f"{head} failed: {record['error']}"
    shown = [
        f"{title} {record[name]:.{digits}f}"
        for name, title, digits in (
            ("dice", "Dice", 4),
            ("hd95_mm", "HD95", 2),
            ("tre_mm", "TRE", 2),
            ("folds_percent", "folds %", 4),
            ("sd_log_jacobian", "SD ln det", 3),
            ("det_below_0.1_percent", "< 0.1 %", 3),
            ("cpu_s", "CPU s", 1),
            ("work_cpu_s", "of them at work", 1),
            ("peak_mb", "MB", 0),
        )
        if record.get(name) is not None
    ]
    return f"{head} {'  '.join(shown)}"
