"""regrefine register FIXED MOVING -o DIR"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RegRefineError
from ..job import Job
from ..presets import resolve
from .job_options import add_method, job_of, threads_of
from .terminal import Bar, Events, Quiet, Verbose, say, show_table, table

if TYPE_CHECKING:
    from ..api.run import Inputs
    from ..job import Result

# option -> the name in Extras of what it gives
_GIVEN = {"init": "initial"} | {
    f"{side}_{what}": f"{side}_{what}"
    for side in ("fixed", "moving")
    for what in ("labels", "mask", "landmarks")
}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "fixed", metavar="FIXED", help="the image that stays: a file or DICOM folder"
    )
    parser.add_argument("moving", metavar="MOVING", help="the image that is brought onto it")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder to write to")
    add_method(parser.add_argument_group("method"))
    given = parser.add_argument_group("what comes with the images")
    given.add_argument("--init", metavar="TRANSFORM", help="start from this transform's file")
    for name in ("fixed", "moving"):
        given.add_argument(
            f"--{name}-labels", metavar="FILE", help="for metrics; with --set labels=1 a guide too"
        )
        given.add_argument(f"--{name}-mask", metavar="FILE", help="compare only where not zero")
        given.add_argument(
            f"--{name}-landmarks",
            metavar="FILE",
            help="for the landmark error; with --set landmarks=1 a guide too",
        )
    _add_output(parser.add_argument_group("output"))


def _add_output(shown: Any) -> None:
    shown.add_argument("--inverse", action="store_true", help="write inverse.nrrd too")
    shown.add_argument("--jacobian", action="store_true", help="write jacobian.nii.gz too")
    shown.add_argument("--picture", metavar="FILE.png", help="draw before and after")
    shown.add_argument("--report", metavar="FILE.html", help="write a report, one page in one file")
    shown.add_argument(
        "--dry-run", action="store_true", help="read and check; say memory and seconds; run nothing"
    )
    shown.add_argument(
        "--threads",
        type=threads_of,
        metavar="N",
        help="(REGREFINE_THREADS, or what the process may)",
    )
    how = shown.add_mutually_exclusive_group()
    how.add_argument("--events", action="store_true", help="JSON lines instead of a bar")
    how.add_argument("--quiet", action="store_true", help="warnings and errors alone")
    how.add_argument("--verbose", action="store_true", help="a line for every step")


def run(arguments: argparse.Namespace) -> int:
    """Register, write the files and show the metrics."""
    job = job_of(arguments)
    resolve(job)  # a wrong preset is an error at once; what is filled in would look like a choice
    if not arguments.output and not arguments.dry_run:
        raise RegRefineError("-o: name the folder to write to (or --dry-run)")
    from .. import memory, threads
    from ..api.run import read_inputs, with_inputs
    from ..interrupts import stoppable
    from ..io import result_folder as outputs
    from ..provenance import command_line
    from ..registration import register

    memory.keep_freed_memory()
    _check_outputs(arguments)
    given = {name: getattr(arguments, option) for option, name in _GIVEN.items()}
    given = {name: path for name, path in given.items() if path is not None}
    for what in ("labels", "landmarks"):
        if (f"fixed_{what}" in given) != (f"moving_{what}" in given):
            raise RegRefineError(
                f"{what}: give both --fixed-{what} and --moving-{what}, or neither"
            )
    inputs = read_inputs(arguments.fixed, arguments.moving, given)
    threads.use(arguments.threads, inputs.fixed.geometry.voxel_count)
    if arguments.dry_run:
        return _dry_run(inputs, job)
    report = _reporter(arguments)
    try:
        with stoppable(report, lambda words: print_error(words)) as stopping:
            result = register(inputs.fixed, inputs.moving, job, stopping, inputs.extras)
    finally:
        report.close()
    result = with_inputs(
        result, inputs, {"fixed": arguments.fixed, "moving": arguments.moving, **given}
    )
    command = command_line(["regrefine", *sys.argv[1:]])
    result = replace(result, provenance={**result.provenance, "command": command})
    written = outputs.write_result(result, Path(arguments.output), inputs.label_map)
    written |= _pages(result, inputs, arguments)
    _show(result, written, arguments)
    return 0


def print_error(words: str) -> None:
    """Write a line to standard error, below what a bar may have left there."""
    sys.stderr.write(f"\n{words}\n")


def _reporter(arguments: argparse.Namespace) -> Any:
    if arguments.events:
        return Events()
    if arguments.quiet:
        return Quiet()
    return Verbose() if arguments.verbose else Bar()


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse names that cannot be written to before the work that makes the files."""
    from ..io import result_folder as outputs

    if arguments.output:
        outputs.check_folder(Path(arguments.output))
    for option, ending in (("picture", ".png"), ("report", ".html")):
        name = getattr(arguments, option)
        if name is None:
            continue
        if Path(name).suffix.lower() != ending:
            raise RegRefineError(f"--{option}: {name} must end in {ending}")
        if Path(name).is_dir():
            raise RegRefineError(f"--{option}: {name} is a folder; name a file in it")
        outputs.check_folder(Path(name).absolute().parent)


def _dry_run(inputs: Inputs, job: Job) -> int:
    """Plan the run and say what it would do, with its memory and time where they are known."""
    from ..memory_model import bytes_per_voxel
    from ..plan import plan
    from ..prepare import on_image_grids, working_grid
    from ..time_model import seconds

    extras, moved = on_image_grids(inputs.extras, inputs.fixed, inputs.moving)
    planned = plan(inputs.fixed, inputs.moving, job, extras)
    done, grid = planned.job, inputs.fixed.geometry
    working = working_grid(grid, done.working_spacing_mm or 0.0)
    say(f"method: {done.affine}, start {done.start}, refinement {done.refinement}")
    for name, value in done.settings.items():
        say(f"  {name} = {value}")
    sizes = " x ".join(str(n) for n in working.shape[::-1])
    spacing = " x ".join(f"{s:.3g}" for s in working.spacing)
    say(f"working grid: {sizes} voxels (i, j, k) of {spacing} mm, on {done.device}")
    needed = bytes_per_voxel(done)
    memory = "not known" if needed is None else f"{_peak_gb(needed, working.voxel_count):.2f} GB"
    say(f"memory: {memory}")
    time = seconds(done, grid.voxel_count, working.voxel_count) if done.device == "cpu" else None
    say("seconds on one core: " + ("not known" if time is None else f"{time:.0f}"))
    for sentence in (*moved, *planned.warnings):
        print_error(f"warning: {sentence}")
    return 0


def _peak_gb(needed: float, voxels: int) -> float:
    """Return the process's peak in GB, with what its libraries take."""
    import psutil

    return (psutil.Process().memory_info().rss + needed * voxels) / 2**30


def _pages(result: Result, inputs: Inputs, arguments: argparse.Namespace) -> dict[str, Path]:
    """Write the picture and the report where they are asked for; return their paths by role."""
    found = {}
    if arguments.picture:
        from ..plots import overview

        found["picture"] = Path(arguments.picture)
        shown = overview.of_result(result, inputs.fixed, inputs.moving, inputs.extras)
        overview.overview(shown, found["picture"])
    if arguments.report:
        from ..report.page import write_report

        found["report"] = Path(arguments.report)
        write_report(result, inputs.fixed, inputs.moving, inputs.extras, found["report"])
    return found


def _show(result: Result, written: Mapping[str, Path], arguments: argparse.Namespace) -> None:
    from ..judgement import stages

    if arguments.quiet:
        return
    if arguments.events:
        paths = {role: str(path) for role, path in written.items()}
        say(json.dumps({"event": "done", "files": paths, "seconds": result.seconds}))
        return
    show_table(table(stages(result), verdicts=True))
    seconds = ", ".join(f"{stage} {spent:.1f}" for stage, spent in result.seconds.items())
    say(f"\nseconds on {result.device}: {seconds}")
    for role, path in written.items():
        say(f"{role:20} {path}")
