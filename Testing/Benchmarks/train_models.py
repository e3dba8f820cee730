"""Train the bundled models again, lesson after lesson; a killed run goes on where it was.

    python Testing/Benchmarks/train_models.py RUNS --maps HEAD_LABELMAPS/*.nii.gz
    python Testing/Benchmarks/train_models.py RUNS --lessons any

A lesson begins with the weights of the one before it: first small motions of smooth noise, then
larger ones, then what the model is for. RUNS gets a folder per lesson with the weights, a log and
its picture. About an hour of one CPU core in all; no file but the maps goes in (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from RegRefineLib import cli

# to full resolution for aligned brains, to half of it where motions are large
FULL = {"network.encoder": [16, 32, 32], "network.decoder": [32, 32, 16, 8]}
HALF = {
    "network.encoder": [16, 32, 32, 32], "network.decoder": [32, 32, 32, 32, 16],
    "network.half_resolution": True,
}  # fmt: skip
ALL = {"memory": 0.98, "amsgrad": False, "ema": 0.99}
NOISE = {
    "stages": 1, "batch": 2, "similarity_weight": 0, "smooth_weight": 0, "field_weight": 1,
    "learning_rate": 0.001, "pairs.shortest": 8,
}  # fmt: skip
BRAIN = {
    "learning_rate": 0.0005, "dice_weight": 1, "dice_stride": 2,
    "pairs.across": 1, "pairs.natural": 0.85, "pairs.empty": 1, "pairs.linear": 0.02,
    "pairs.bend": 0.01, "pairs.noise": 0.01, "pairs.thickness": 1, "pairs.texture": 0.05,
    "pairs.bias": 0.2, "pairs.gamma": 0.2, "pairs.blur": 0.8,
}  # fmt: skip
SHAPES = {
    "learning_rate": 0.0005, "dice_weight": 1, "dice_stride": 2, "field_weight": 1,
    "pairs.bend": 0.04, "pairs.linear": 0.03, "pairs.same_contrast": 0.8,
}  # fmt: skip
PACK = "brain.npz"
PACKING = ["--kind", "brain", "--align", "--shape", "40", "48", "40", "--spacing", "4"]


class Lesson(NamedTuple):
    """A training: the one that it begins with, arguments and settings of `regrefine train`."""

    after: str
    words: list[str]
    settings: dict[str, object]


def noise(size: int) -> list[str]:
    return ["--network", "voxelmorph", "--noise", "--shape", *3 * [str(size)]]


def brains(network: str) -> list[str]:
    return ["--network", network, "--pack", PACK, "--hold-out", "2"]


LESSONS = {
    "noise": Lesson("", noise(24), FULL | NOISE | {"steps": 1000, "pairs.largest": 1.5}),
    "brain": Lesson("noise", brains("firework-vm"), FULL | BRAIN | {"steps": 2000}),
    "brain-vm": Lesson("noise", brains("voxelmorph"), FULL | BRAIN | {"steps": 2000, "stages": 1}),
    "deep-noise": Lesson("", noise(32), HALF | NOISE | {"steps": 1000, "pairs.largest": 1.2}),
    "more-deep-noise": Lesson(
        "deep-noise", noise(48), HALF | NOISE | {"steps": 1000, "pairs.largest": 4, "batch": 1}
    ),
    "any": Lesson(
        "more-deep-noise",
        ["--network", "firework-vm", "--shape", "48", "48", "48"],
        HALF | SHAPES | {"steps": 2000},
    ),
}


def _word(value: object) -> str:
    """Return a setting's value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "")


def learn(name: str, runs: Path, more: list[str]) -> None:
    """Take a lesson, and before it those that it builds on."""
    lesson = LESSONS[name]
    settings = dict(ALL | lesson.settings)
    if lesson.after:
        learn(lesson.after, runs, more)
        settings["begin_with"] = str(runs / lesson.after / "weights.safetensors")
    words = [str(runs / word) if word == PACK else word for word in lesson.words]
    for setting, value in settings.items():
        words += ["--set", f"{setting}={_word(value)}"]
    print(f"{name}: {' '.join(words)}", flush=True)
    if cli.main(["train", str(runs / name), *words, "--save-every", "250", *more]):
        raise SystemExit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--maps", nargs="+", default=[], help="head label maps, FreeSurfer's")
    parser.add_argument(
        "--lessons", nargs="+", default=["brain", "brain-vm", "any"], choices=LESSONS
    )
    parser.add_argument("--device", default="cpu", help="whose random numbers differ: cpu, cuda")
    arguments = parser.parse_args()
    pack = arguments.runs / PACK
    if not pack.is_file() and any("brain" in name for name in arguments.lessons):
        arguments.runs.mkdir(parents=True, exist_ok=True)
        if cli.main(["pack", str(pack), "--labels", *arguments.maps, *PACKING]):
            raise SystemExit(2)
    for name in arguments.lessons:
        learn(name, arguments.runs, ["--device", arguments.device])


if __name__ == "__main__":
    main()
