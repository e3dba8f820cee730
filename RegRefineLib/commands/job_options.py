"""The options that describe a job, and the job that they describe."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RegRefineError
from ..job import AFFINES, DEVICES, INTENSITIES, Job


def add_method(method: Any) -> None:
    """Declare the options of a job in an argument group."""
    method.add_argument("--preset", help="see `regrefine list presets` (default)")
    method.add_argument("--job", metavar="JSON", help="the job of this result.json")
    method.add_argument("--affine", choices=AFFINES, help="linear alignment beforehand")
    method.add_argument(
        "--start", "--backbone", help="where the field starts; see `regrefine list starts`"
    )
    method.add_argument(
        "--refinement", "--refine", help="how it is refined; see `regrefine list refinements`"
    )
    method.add_argument("--network", help="for --start network; see `regrefine list networks`")
    method.add_argument("--weights", help="weights file of the network, or a model's name")
    method.add_argument("--steps", type=_whole, help="steps of the refinement")
    method.add_argument("--intensity", choices=INTENSITIES, help="range that becomes 0..1")
    method.add_argument("--spacing", type=_spacing, metavar="MM", help="working voxels; 0: fixed's")
    method.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the refinement, or start.NAME=VALUE of the start; see "
        "`regrefine list settings`",
    )
    method.add_argument("--device", help=f"{' | '.join(DEVICES)} (auto)")
    method.add_argument("--seed", type=int, help="(0)")


def job_of(arguments: argparse.Namespace) -> Job:
    """Return the job that the arguments describe, on top of the one in --job where that is given.

    Raises:
        RegRefineError: a setting that is not NAME=VALUE, a value out of range, or a file that
            holds no job.
    """
    settings: dict[str, Any] = {}
    start: dict[str, Any] = {}
    for word in arguments.set:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise RegRefineError(f"--set: NAME=VALUE is needed, got {word!r}")
        if name.startswith("start."):
            start[name.removeprefix("start.")] = value
        else:
            settings[name] = value
    if arguments.steps is not None:
        settings["steps"] = arguments.steps
    if arguments.network or arguments.weights:
        start |= {"network": arguments.network or "", "weights": arguments.weights or ""}
        arguments.start = arguments.start or "network"
    start = {name: value for name, value in start.items() if value != ""}
    base = _stored_job(arguments.job) if arguments.job else Job()
    stated = {
        "preset": arguments.preset,
        "affine": arguments.affine,
        "start": arguments.start,
        "refinement": arguments.refinement,
        "intensity": arguments.intensity,
        "working_spacing_mm": arguments.spacing,
        "device": arguments.device,
        "seed": arguments.seed,
        "inverse": arguments.inverse or None,
        "jacobian": arguments.jacobian or None,
    }
    changes = {name: value for name, value in stated.items() if value is not None}
    return merged(base, changes, settings, start)


def merged(
    base: Job, changes: Mapping[str, Any], settings: Mapping[str, Any], start: Mapping[str, Any]
) -> Job:
    """Return a job with some fields changed; settings of another method do not survive it."""
    if "preset" in changes and base != Job():
        raise RegRefineError("--preset: not together with --job, which names a whole job")
    other_start = changes.get("start", base.start) != base.start
    other_refinement = changes.get("refinement", base.refinement) != base.refinement
    return base.replaced(
        **changes,
        settings={**({} if other_refinement else base.settings), **settings},
        start_settings={**({} if other_start else base.start_settings), **start},
    )


def _stored_job(path: str) -> Job:
    """Return the job in a result.json, or in a file that is a job itself.

    Raises:
        RegRefineError: the file cannot be read or holds no job.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RegRefineError(f"--job: {path} cannot be read as JSON ({error})") from error
    values = content.get("job", content) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise RegRefineError(f"--job: {path} holds no job; name a result.json")
    try:
        job = Job.from_json(values)
    except RegRefineError as error:
        raise RegRefineError(f"--job: {path}: {error}") from error
    return job


def _whole(text: str) -> int:
    number = int(text) if text.isdigit() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is needed, got {text!r}")
    return number


def threads_of(text: str) -> int:
    """Return a number of threads from the text of an option."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is needed, got {text!r}")
    return int(text)


def _spacing(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e3:
        raise argparse.ArgumentTypeError(f"millimetres are needed, got {text!r}")
    return number
