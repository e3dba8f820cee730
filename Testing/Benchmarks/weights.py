"""What a network's weights reach on a labelled pair, alone and before each refinement.

    python Testing/Benchmarks/weights.py WEIGHTS [--cases brain_vxm] [--after none fixed ...]

WEIGHTS is a model's name or a file. `--after` names presets, of which the refinement alone is used.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from cases import CASES, Case

from RegRefineLib import memory
from RegRefineLib.job import Extras, Job
from RegRefineLib.presets import resolve
from RegRefineLib.registration import register

HEAD = "| pair | after the network | Dice before / after | HD95 mm | folds % | SDlogJ | CPU s |"


def job_for(weights: str, after: str) -> Job:
    """Return the network's job with the refinement of preset `after`, or with none."""
    job = Job(affine="none", start="network", start_settings={"weights": weights})
    if after == "none":
        return job.replaced(refinement="none")
    preset = resolve(Job(preset=after))
    return job.replaced(refinement=preset.refinement, settings=preset.settings)


def row(case: Case, weights: str, after: str) -> str:
    """Return a row of the table for one registration."""
    extras = Extras(fixed_labels=case.fixed_labels, moving_labels=case.moving_labels)
    begun = time.process_time()
    result = register(case.fixed, case.moving, job_for(weights, after), extras=extras)
    spent = time.process_time() - begun
    for sentence in result.warnings:
        print(f"({sentence})", file=sys.stderr)
    before, found = result.before, result.after
    return (
        f"| {case.name} | {after} | {before['dice']['mean']:.3f} / {found['dice']['mean']:.3f} | "
        f"{found['hd95_mm']['mean']:.2f} | {found['folds_percent']:.4f} | {found['sdlogj']:.3f} | "
        f"{spent:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("--cases", nargs="+", default=["brain_vxm"], choices=list(CASES))
    parser.add_argument("--after", nargs="+", default=["none", "fixed", "released", "default"])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    memory.keep_freed_memory()
    print(HEAD + "\n|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.cases:
        for case in CASES[name]():
            for after in arguments.after:
                print(row(case, arguments.weights, after), flush=True)


if __name__ == "__main__":
    main()
