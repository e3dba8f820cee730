"""regrefine register FIXED MOVING -o DIR"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import RegRefineError
from ..job import AFFINES, DEVICES, INTENSITIES, Extras, Job
from ..presets import resolve
from .terminal import Bar, Events, say, show_table, table


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "fixed", metavar="FIXED", help="the image that stays: a file or DICOM folder"
    )
    parser.add_argument("moving", metavar="MOVING", help="the image that is brought onto it")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    method = parser.add_argument_group("method")
    method.add_argument("--preset", default="default", help="see `regrefine list presets`")
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
        help="a setting of the refinement, or start.NAME=VALUE of the start",
    )
    method.add_argument("--device", default="auto", help=" | ".join(DEVICES))
    method.add_argument("--seed", type=int, default=0)
    given = parser.add_argument_group("what comes with the images")
    given.add_argument("--init", metavar="TRANSFORM", help="start from this transform's file")
    for name in ("fixed", "moving"):
        given.add_argument(
            f"--{name}-labels", metavar="FILE", help="for metrics; with --set labels=1 they steer"
        )
        given.add_argument(f"--{name}-mask", metavar="FILE", help="compare only where not zero")
        given.add_argument(
            f"--{name}-landmarks",
            metavar="FILE",
            help="for the landmark error; with --set landmarks=1 they pull",
        )
    shown = parser.add_argument_group("output")
    shown.add_argument("--inverse", action="store_true", help="write inverse.nrrd too")
    shown.add_argument("--jacobian", action="store_true", help="write jacobian.nii.gz too")
    shown.add_argument("--events", action="store_true", help="JSON lines instead of a bar")


def run(arguments: argparse.Namespace) -> int:
    """Register, write the files and show the metrics."""
    job = job_of(arguments)
    resolve(job)  # a wrong preset is told at once; what is filled in would look like a choice
    from .. import memory
    from ..io import result_folder as outputs
    from ..io import volumes as files
    from ..registration import register

    memory.keep_freed_memory()
    outputs.check_folder(Path(arguments.output))
    fixed, moving = files.read_volume(arguments.fixed), files.read_volume(arguments.moving)
    extras, label_map = _extras(arguments, fixed)
    report = Events() if arguments.events else Bar()
    try:
        result = register(fixed, moving, job, report, extras)
    finally:
        report.close()
    written = outputs.write_result(result, Path(arguments.output), label_map)
    if arguments.events:
        paths = {role: str(path) for role, path in written.items()}
        say(json.dumps({"event": "done", "files": paths, "seconds": result.seconds}))
        return 0
    stages = {"before": result.before, "affine": result.affine_only, "after": result.after}
    show_table(table(stages))
    seconds = ", ".join(f"{stage} {spent:.1f}" for stage, spent in result.seconds.items())
    say(f"\nseconds on {result.device}: {seconds}")
    for role, path in written.items():
        say(f"{role:20} {path}")
    return 0


def job_of(arguments: argparse.Namespace) -> Job:
    """Return the job that the arguments describe.

    Raises:
        RegRefineError: a setting that is not NAME=VALUE, or a value out of range.
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
    return Job(
        preset=arguments.preset,
        affine=arguments.affine,
        start=arguments.start,
        refinement=arguments.refinement,
        intensity=arguments.intensity,
        working_spacing_mm=arguments.spacing,
        settings=settings,
        start_settings={name: value for name, value in start.items() if value != ""},
        device=arguments.device,
        seed=arguments.seed,
        inverse=arguments.inverse,
        jacobian=arguments.jacobian,
    )


def _extras(arguments: argparse.Namespace, fixed: Any) -> tuple[Extras, Any]:
    from ..io import landmarks, transforms
    from ..io import volumes as files

    def labels(path: str | None) -> Any:
        return None if path is None else files.read_labels(path)

    def points(path: str | None) -> Any:
        return None if path is None else landmarks.read_landmarks(path)[1]

    if bool(arguments.fixed_labels) != bool(arguments.moving_labels):
        raise RegRefineError("labels: give both --fixed-labels and --moving-labels, or neither")
    if bool(arguments.fixed_landmarks) != bool(arguments.moving_landmarks):
        raise RegRefineError("landmarks: give both --fixed-landmarks and --moving-landmarks")
    fixed_labels, moving_labels = labels(arguments.fixed_labels), labels(arguments.moving_labels)
    fixed_mask, moving_mask = labels(arguments.fixed_mask), labels(arguments.moving_mask)
    initial = arguments.init and transforms.read_transform(arguments.init, fixed.geometry)
    extras = Extras(
        fixed_labels=fixed_labels and fixed_labels.volume,
        moving_labels=moving_labels and moving_labels.volume,
        fixed_mask=fixed_mask and fixed_mask.volume,
        moving_mask=moving_mask and moving_mask.volume,
        initial=initial if arguments.init else None,
        fixed_landmarks=points(arguments.fixed_landmarks),
        moving_landmarks=points(arguments.moving_landmarks),
    )
    return extras, moving_labels


def _whole(text: str) -> int:
    number = int(text) if text.isdigit() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is needed, got {text!r}")
    return number


def _spacing(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e3:
        raise argparse.ArgumentTypeError(f"millimetres are needed, got {text!r}")
    return number
