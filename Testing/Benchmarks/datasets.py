"""Metrics of presets on the labelled pairs of cases.py: before, after affine, after refinement.

    python Testing/Benchmarks/datasets.py [--presets default released] [--cases brain_vxm ...]

Writes a table and, with --json FILE, a line of JSON per run; runs that are there already are left
out, so an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Case

from RegRefineLib import memory
from RegRefineLib.job import Extras, Job
from RegRefineLib.registration import register

COLUMNS = ("dice", "hd95_mm", "folds_percent", "sdlogj")


def run(case: Case, preset: str) -> dict[str, Any]:
    """Return the metrics of one registration, as a record for a line of JSON."""
    job = Job(preset=preset, affine=case.affine, intensity=case.intensity)
    extras = Extras(fixed_labels=case.fixed_labels, moving_labels=case.moving_labels)
    result = register(case.fixed, case.moving, job, extras=extras)
    stages = {"before": result.before, "affine": result.affine_only, "after": result.after}
    return {
        "case": case.name,
        "preset": preset,
        "seconds": result.seconds,
        "peak_mb": result.peak_memory_mb,
        "threads": torch.get_num_threads(),
        **{stage: {c: _mean(metrics.get(c)) for c in COLUMNS} for stage, metrics in stages.items()},
    }


def _mean(value: Any) -> float | None:
    return value.get("mean") if isinstance(value, dict) else value


def row(record: dict[str, Any]) -> str:
    """Return a record as a row of a Markdown table."""

    def show(stage: str, name: str, digits: int) -> str:
        value = record[stage][name]
        return "-" if value is None else f"{value:.{digits}f}"

    dice = " / ".join(show(stage, "dice", 3) for stage in ("before", "affine", "after"))
    hd95 = " / ".join(show(stage, "hd95_mm", 2) for stage in ("before", "affine", "after"))
    seconds = record["seconds"]
    return (
        f"| {record['case']} | {record['preset']} | {dice} | {hd95} | "
        f"{show('after', 'folds_percent', 4)} | {show('after', 'sdlogj', 3)} | "
        f"{seconds.get('affine', 0):.1f} + {seconds['refine']:.1f} | {record['peak_mb']:.0f} |"
    )


HEAD = (
    "| pair | preset | Dice before / affine / after | HD95 mm | folds % | SDlogJ | "
    "s affine + refine | peak MB |\n|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["default", "released"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="append a line of JSON per run; resumable")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    memory.keep_freed_memory()
    done: dict[tuple[str, str], dict[str, Any]] = {}
    if arguments.json and arguments.json.exists():
        records = [json.loads(line) for line in arguments.json.read_text().splitlines()]
        done = {(record["case"], record["preset"]): record for record in records}
    print(HEAD, flush=True)
    for name in arguments.cases:
        for case in CASES[name]():
            for preset in arguments.presets:
                record = done.get((case.name, preset)) or run(case, preset)
                if arguments.json and (case.name, preset) not in done:
                    with arguments.json.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                print(row(record), flush=True)


if __name__ == "__main__":
    main()
