"""What the bundled models reach on labelled pairs, alone, over FiRework's steps, with a finish.

    python Testing/Benchmarks/bundled.py regrefine-brain --sets brain_vxm brain_oasis20
    python Testing/Benchmarks/bundled.py regrefine-any --sets cardiac_mms torso_ct lung_ct

The model is a name or a file. A row is a pair: mean Dice of its structures (nearest-neighbour
labels) and folds after the affine alignment alone, after each way of WAYS, CPU seconds of each
without the alignment, which is found once for a pair. With --json runs that are there are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import CASES, Case

from RegRefineLib import memory
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.linear.search import align
from RegRefineLib.metrics.overlap import count_labels, dice, mean
from RegRefineLib.presets import PRESETS
from RegRefineLib.registration import register
from RegRefineLib.resample import Mapping, resample

HOW_MANY = {"brain_oasis20": 3, "cardiac_mms": 12, "hippocampus": 20}
BOTH_WAYS = {"brain_oasis20"}
MIDDLES_DIFFER = {"torso_ct"}
PYRAMID = PRESETS["default"].values["settings"]


def cases(name: str) -> Iterator[Case]:
    """Yield a set's pairs; those that are stored already aligned get an affine as well."""
    made = CASES[name]
    for case in made(HOW_MANY[name]) if name in HOW_MANY else made():  # type: ignore[call-arg]
        if name == "brain_vxm":
            case = _directed(case)
        elif name not in MIDDLES_DIFFER:
            case = replace(case, affine="affine")
        yield case
        if name in BOTH_WAYS:
            yield case.reversed()


def _directed(case: Case) -> Case:
    """Return the pair with the directions that its files do not state: L, I, A."""
    axes = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])  # columns i, j, k in RAS

    def placed(volume: Volume) -> Volume:
        shape = volume.array.shape
        return Volume(volume.array, Geometry.from_parts(shape, (1, 1, 1), axes, (0, 0, 0)))

    images = placed(case.fixed), placed(case.moving)
    labels = placed(case.fixed_labels), placed(case.moving_labels)
    return Case(case.name, *images, *labels, "none", case.intensity)


def ways(weights: str) -> dict[str, Job]:
    """Return the jobs that are compared, without their alignment."""
    network = Job(affine="none", start="network", start_settings={"weights": weights})
    steps = {"weights": weights, "steps": 12, "patience": 2}
    alone = Job(affine="none", start="none")
    return {
        "model": network.replaced(refinement="none"),
        "steps": alone.replaced(refinement="firework", settings=steps),
        "model + pyramid": network.replaced(refinement="pyramid", settings=PYRAMID),
        "model + reg-ttr": network.replaced(refinement="reg-ttr", settings={}),
        "pyramid": alone.replaced(refinement="pyramid", settings=PYRAMID),
        "reg-ttr": alone.replaced(refinement="reg-ttr", settings={}),
    }


def overlap(case: Case, mapping: Mapping) -> float:
    moved = resample(case.moving_labels, case.fixed.geometry, mapping, "nearest").array
    fixed = case.fixed_labels.array
    return mean(dice(count_labels(fixed.astype(np.int64), moved.astype(np.int64))))


def record(case: Case, matrix: np.ndarray, job: Job) -> dict[str, Any]:
    """Return Dice, folds and CPU seconds of one way."""
    job = job.replaced(intensity=case.intensity)
    begun = time.process_time()
    result = register(case.fixed, case.moving, job, extras=Extras(initial=matrix))
    return {
        "dice": overlap(case, result.field),
        "folds": result.after["folds_percent"],
        "seconds": time.process_time() - begun,
        "refined_in": len(result.history),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("--sets", nargs="+", default=["brain_vxm"], choices=list(CASES))
    parser.add_argument("--ways", nargs="+", help="of these (all)", choices=list(ways("")))
    parser.add_argument("--json", type=Path, default=Path("bundled.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    memory.keep_freed_memory()
    path = arguments.json
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(r["weights"], r["pair"], r["way"]): r for r in done}
    chosen = {n: j for n, j in ways(arguments.weights).items() if n in (arguments.ways or [n])}
    for name in arguments.sets:
        rows = []
        for case in cases(name):
            before = known.get(("", case.name, "affine"))
            if before is None:
                matrix = align(case.fixed, case.moving, case.affine, intensity=case.intensity)
                before = {"dice": overlap(case, matrix), "matrix": matrix.tolist()}
                _note(path, {"weights": "", "pair": case.name, "way": "affine", **before})
            row = {"affine": before}
            for way, job in chosen.items():
                key = (arguments.weights, case.name, way)
                if key not in known:
                    found = record(case, np.array(before["matrix"]), job)
                    known[key] = dict(zip(("weights", "pair", "way"), key, strict=True)) | found
                    _note(path, known[key])
                row[way] = known[key]
            rows.append(row)
            print(_line(case.name, row), flush=True)
        columns = "dice", "folds", "seconds"
        mean_row = {
            way: {c: float(np.mean([r[way].get(c, 0.0) for r in rows])) for c in columns}
            for way in rows[0]
        }
        print(_line(f"**{name}, mean of {len(rows)}**", mean_row), flush=True)


def _note(path: Path, values: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")


def _line(name: str, row: dict[str, dict[str, Any]]) -> str:
    cells = [
        f"{way} {r['dice']:.3f}"
        + (f" ({r['folds']:.3f} %, {r['seconds']:.0f} s)" if way != "affine" else "")
        for way, r in row.items()
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
