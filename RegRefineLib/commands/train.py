"""regrefine train FOLDER [--labels FILE ...] [--images FILE ...]

Arguments that decide the training are kept in the folder, so that `regrefine train FOLDER` alone
continues it; those given then win over those kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RegRefineError
from ..job import DEVICES, INTENSITIES, Progress
from .terminal import Bar, say

if TYPE_CHECKING:
    from ..training.pack import Pack
    from ..training.source import Sample, Source

# pairs of these numbers are for validation; no training gets so far
FIRST_VALIDATION_PAIR = 10**9
DEFAULTS: dict[str, Any] = {
    "pack": None, "labels": [], "images": [], "noise": False, "hold_out": 0,
    "shape": [96, 96, 96], "spacing": 2.0, "intensity": "minmax", "network": "firework-vm",
    "set": [], "save_every": 500, "validation": 8,
}  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER",
        help="to write to; alone, it continues the training that the folder holds",
    )  # fmt: skip
    pairs = parser.add_argument_group("pairs (no files at all: random shapes)")
    pairs.add_argument("--pack", metavar="FILE", help="label maps or scans of `regrefine pack`")
    pairs.add_argument(
        "--labels", nargs="+", metavar="FILE",
        help="label maps: alone, what synthetic images are made of; or one per image",
    )  # fmt: skip
    pairs.add_argument("--images", nargs="+", metavar="FILE", help="scans to pair")
    pairs.add_argument("--noise", action="store_true", default=None,
                       help="pairs of smooth noise instead: a network's first lesson")  # fmt: skip
    pairs.add_argument("--hold-out", type=int, metavar="N",
                       help="keep the last N files for validation")  # fmt: skip
    pairs.add_argument("--shape", nargs=3, type=int, metavar=("D", "H", "W"),
                       help="voxels (96 96 96)")  # fmt: skip
    pairs.add_argument("--spacing", type=float, metavar="MM", help="of the files (2)")
    pairs.add_argument("--intensity", choices=INTENSITIES, help="of the scans (minmax)")
    method = parser.add_argument_group("method")
    method.add_argument("--network", help="see `regrefine list networks` (firework-vm)")
    method.add_argument(
        "--set", action="append", metavar="NAME=VALUE",
        help="of the recipe (steps, which can be raised later, stages, similarity, dice_weight, "
        "learning_rate, ema ...), network.NAME=VALUE of the network, pairs.NAME=VALUE of "
        "synthetic pairs",
    )  # fmt: skip
    running = parser.add_argument_group("running")
    running.add_argument("--device", default="auto", help=" | ".join(DEVICES))
    running.add_argument("--save-every", type=int, metavar="STEPS", help="(500)")
    running.add_argument("--minutes", type=float, default=0.0, help="save and end after so long")
    running.add_argument("--validation", type=int, metavar="PAIRS",
                         help="registered at every save (8)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    kept = _complete(arguments)
    recipe_settings, options, pair_settings = _settings(arguments.set)
    if arguments.save_every < 1 or arguments.minutes < 0 or arguments.validation < 0:
        raise RegRefineError("--save-every is 1 or more; --minutes, --validation not negative")
    from .. import memory
    from ..settings import read_settings
    from ..training.loop import Run, train
    from ..training.recipe import Recipe

    recipe = replace(
        read_settings(Recipe, recipe_settings), network=arguments.network, options=options
    )
    memory.keep_freed_memory()
    source, validation = _pairs(arguments, pair_settings)
    say(f"{recipe.network}, {recipe.steps} steps, {source.fingerprint()}")
    bar = Bar()

    def report(progress: Progress) -> None:
        if progress.message and not progress.warning:
            say(progress.message)
        bar(progress)

    running = Run(
        arguments.device, arguments.save_every, arguments.minutes, validation, report, kept
    )
    try:
        weights = train(recipe, source, arguments.folder, running)
    except KeyboardInterrupt:
        say(f"interrupted; `regrefine train {arguments.folder}` continues from the last save")
        return 1
    finally:
        bar.close()
    say(str(weights))
    return 0


def _complete(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill in what was not given from the folder's training, else the defaults; return it all."""
    from ..training.loop import kept_arguments

    kept = kept_arguments(arguments.folder)
    values = {name: kept.get(name, default) for name, default in DEFAULTS.items()}
    given = {n: v for n in DEFAULTS if (v := getattr(arguments, n)) is not None}
    for name in ("labels", "images"):
        if name in given:
            given[name] = [str(Path(file).absolute()) for file in given[name]]
    if "pack" in given:
        given["pack"] = str(Path(given["pack"]).absolute())
    if "set" in given:  # a setting that is given anew replaces the one kept
        words = {word.partition("=")[0]: word for word in [*values["set"], *given["set"]]}
        given["set"] = list(words.values())
    values |= given
    for name, value in values.items():
        setattr(arguments, name, value)
    return values


def _settings(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the settings of the recipe, the network's options and the pairs' settings."""
    from ..inference.load import option

    recipe: dict[str, Any] = {}
    options: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise RegRefineError(f"--set: NAME=VALUE is needed, got {word!r}")
        if name.startswith("network."):
            options[name.removeprefix("network.")] = option(value)
        elif name.startswith("pairs."):
            pairs[name.removeprefix("pairs.")] = value
        else:
            recipe[name] = value
    for given, own in ((recipe, ("network", "options")), (pairs, ("shape",))):
        for name in set(own) & set(given):
            raise RegRefineError(f"--set {name}: has an argument of its own; see --help")
    return recipe, options, pairs


def _pairs(
    arguments: argparse.Namespace, settings: dict[str, Any]
) -> tuple[Source, Sequence[Sample]]:
    """Return the source, and the pairs of the files held out (or of numbers never reached)."""
    import torch

    if arguments.noise:
        return _noise(arguments, settings), ()
    whole = _packed(arguments)
    files = len(whole.images or whole.labels) if whole else 0
    held = arguments.hold_out
    if not 0 <= held <= max(0, files - 1):
        raise RegRefineError(f"--hold-out: from 0 to {max(0, files - 1)} of the files, got {held}")
    source = _source(whole and whole.part(0, files - held), arguments.shape, settings)
    held_out = source
    if whole and held:
        held_out = _source(whole.part(files - held, files), arguments.shape, settings)
    judged = bool(held) or not (whole and whole.images)
    count = arguments.validation if judged else 0
    numbers = range(FIRST_VALIDATION_PAIR, FIRST_VALIDATION_PAIR + count)
    return source, [held_out.sample(number, torch.device("cpu")) for number in numbers]


def _noise(arguments: argparse.Namespace, settings: dict[str, Any]) -> Source:
    from ..settings import read_settings
    from ..training.datasets import squeezed
    from ..training.noise import Noise, NoisePairs

    if arguments.pack or arguments.labels or arguments.images:
        raise RegRefineError("--noise: is made without files; leave them out")
    shape: Any = tuple(arguments.shape)
    return NoisePairs(replace(read_settings(Noise, settings), shape=shape), squeezed(shape))


def _packed(arguments: argparse.Namespace) -> Pack | None:
    """Return the files as a pack, or None where there are none."""
    from ..training.datasets import Grid
    from ..training.pack import Pack, Packing, pack

    files = bool(arguments.images or arguments.labels)
    if arguments.pack:
        if files:
            raise RegRefineError("--pack: has label maps and scans of its own; leave out the files")
        return Pack.read(arguments.pack)
    if not files:
        return None
    grid = Grid(tuple(arguments.shape), arguments.spacing)
    return pack(arguments.labels, arguments.images, Packing(grid, intensity=arguments.intensity))


def _source(pack: Pack | None, shape: Sequence[int], settings: dict[str, Any]) -> Source:
    """Return pairs of a pack's scans, synthetic ones of its label maps, or of random shapes."""
    from ..settings import read_settings
    from ..training.datasets import squeezed
    from ..training.synthetic import Synthesis, SyntheticPairs

    if pack and pack.images:
        if settings:
            raise RegRefineError(f"--set pairs.{next(iter(settings))}: scans are as they are")
        return pack.scans()
    sizes: Any = pack.shape if pack else tuple(shape)
    synthesis = replace(read_settings(Synthesis, settings), shape=sizes)
    return pack.painted(synthesis) if pack else SyntheticPairs(synthesis, (), squeezed(sizes))
