"""regrefine cohort MANIFEST -o DIR: register many scans, on all cores or on a cluster."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RegRefineError
from .job_options import add_method, job_of
from .terminal import say

if TYPE_CHECKING:
    from ..cohort.cohort import Options
    from ..cohort.engine import Where


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="CSV or TSV: id, image[, mask, labels, landmarks, session, group, weight, initial], "
        "or fixed, moving; or a BIDS folder",
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--to", metavar="ID|FILE", help="bring all onto this scan; without it every pair is run"
    )
    what.add_argument("--dry-run", action="store_true", help="check, count, estimate; run nothing")
    what.add_argument("--only-failed", action="store_true", help="again what failed, nothing else")
    what.add_argument("--row", type=int, metavar="N", help="run N alone (from 1), for job arrays")
    what.add_argument(
        "--keep",
        choices=("minimal", "full"),
        default="full",
        help="minimal: compact field and metrics; full: all files (full)",
    )
    what.add_argument(
        "--bound",
        type=float,
        default=0.05,
        metavar="MM",
        help="largest error of the compact field (0.05)",
    )
    what.add_argument(
        "--fuse",
        choices=("majority", "staple", "local"),
        help="with --to: label it by the labels of all others",
    )
    _add_template(parser.add_argument_group("template"))
    add_method(parser.add_argument_group("method"))
    parser.set_defaults(inverse=False, jacobian=False)
    _add_places(parser.add_argument_group("where to run"))


def _add_template(template: argparse._ArgumentGroup) -> None:
    template.add_argument(
        "--template", action="store_true", help="make an unbiased average of the scans instead"
    )
    template.add_argument(
        "--iterations", type=int, nargs=2, default=(1, 4), metavar=("LINEAR", "DEFORMABLE"),
        help="at most so many of each (1 4)",
    )  # fmt: skip
    template.add_argument(
        "--maps", type=float, metavar="FWHM", help="write log-Jacobian maps too, smoothed by MM"
    )
    template.add_argument("--statistic", choices=("mean", "median", "trimmed"), default="mean")
    template.add_argument("--sharpen", type=float, default=0.25, help="unsharp masking (0.25)")
    template.add_argument("--target", default="", metavar="FILE", help="begin with this image")
    template.add_argument("--grid", type=float, metavar="MM", help="the template's voxels")
    template.add_argument(
        "--allow-missing", action="store_true", help="average what there is where a run failed"
    )


def _add_places(place: argparse._ArgumentGroup) -> None:
    place.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="runs at a time, or jobs (as many as cores and memory allow)",
    )
    place.add_argument("--scheduler", default="", metavar="ADDRESS", help="a running Dask cluster")
    batch = place.add_mutually_exclusive_group()
    for name in ("slurm", "pbs", "sge"):
        batch.add_argument(
            f"--{name}",
            dest="batch",
            action="store_const",
            const=name,
            default="",
            help=f"submit workers to {name.upper()}",
        )
    place.add_argument("--walltime", default="04:00:00", metavar="HH:MM:SS", help="of a job")
    place.add_argument("--queue", default="", help="or partition of the jobs")
    place.add_argument("--gpu", action="store_true", help="ask for a GPU with each job")


def run(arguments: argparse.Namespace) -> int:
    """Check, run what is missing and say what came of it; status 1 where a run failed."""
    from ..cohort.cohort import prepare, run_prepared
    from ..cohort.manifest import ManifestError

    _check(arguments)
    if arguments.template:
        return _template(arguments)
    options, job = _options(arguments), job_of(arguments)
    folder = Path(arguments.output)
    try:
        ready = prepare(arguments.manifest, folder, job, options, _progress)
    except ManifestError as error:
        return _refused(error)
    say(f"{len(ready.records)} of {len(ready.runs)} runs are done already")
    say(ready.estimate.sentence())
    if arguments.dry_run:
        return 0
    try:
        rows = run_prepared(ready, folder, options, say)
    except KeyboardInterrupt:
        say("stopped; what is done is kept, and the same command goes on")
        return 1
    if arguments.fuse and options.row is None:
        from ..cohort.products import write_fused

        path, fused, used = write_fused(ready.runs, folder, arguments.fuse)
        counted = f"labels of {used} of {len(ready.runs)} scans"
        say(f"{path}: {counted}, {fused.ties} voxels undecided")
    return _ended(rows, folder)


def _refused(error: Any) -> int:
    for sentence in error.problems:
        sys.stderr.write(f"regrefine: {' '.join(sentence.split())}\n")
    return 2


def _template(arguments: argparse.Namespace) -> int:
    from ..cohort.manifest import ManifestError
    from ..cohort.template import Plan
    from ..cohort.template_run import prepare_template, run_template

    if min(arguments.iterations) < 0 or sum(arguments.iterations) < 1:
        raise RegRefineError("--iterations: two whole numbers, not both 0")
    if arguments.to or arguments.row is not None or arguments.only_failed:
        raise RegRefineError("--template: leave --to, --row and --only-failed away")
    plan = Plan(
        linear=arguments.iterations[0],
        deformable=arguments.iterations[1],
        statistic=arguments.statistic,
        sharpen=arguments.sharpen,
        spacing_mm=arguments.grid,
        target=arguments.target,
        holes=arguments.allow_missing,
        bound_mm=arguments.bound,
    )
    folder = Path(arguments.output)
    try:
        inputs, size = prepare_template(
            arguments.manifest, folder, job_of(arguments), plan, arguments.workers, _progress
        )
    except ManifestError as error:
        return _refused(error)
    say(f"each iteration: {size.sentence()}")
    if arguments.dry_run:
        return 0
    try:
        built = run_template(inputs, size, _where(arguments), say)
    except KeyboardInterrupt:
        say("stopped; what is done is kept, and the same command goes on")
        return 1
    if arguments.maps is not None:
        from ..cohort.products import write_maps

        say(str(write_maps(built, inputs.scans, folder, arguments.maps)))
    say(str(built.path))
    return 0


def _ended(rows: list[dict[str, Any]], folder: Path) -> int:
    counts = Counter(str(row["status"]) for row in rows)
    flagged = [row for row in rows if row["flag"]]
    say(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    for row in flagged:
        say(f"look at {row['run']}: far from the others in {row['flag']}")
    say(str(folder / "cohort.tsv"))
    return 1 if counts["failed"] else 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.workers is not None and arguments.workers < 1:
        raise RegRefineError(f"--workers: 1 or more, got {arguments.workers}")
    if arguments.fuse and not arguments.to:
        raise RegRefineError("--fuse: say with --to which scan is to be labelled")
    if arguments.maps is not None and not 0 <= arguments.maps < 100:
        raise RegRefineError(f"--maps: millimetres from 0 on, got {arguments.maps:g}")
    if not 0 < arguments.bound < 100:
        raise RegRefineError(f"--bound: millimetres above 0, got {arguments.bound:g}")
    if arguments.scheduler and arguments.batch:
        raise RegRefineError(f"--scheduler and --{arguments.batch}: give one of them")


def _options(arguments: argparse.Namespace) -> Options:
    from ..cohort.cohort import Options

    return Options(
        to=arguments.to,
        keep=arguments.keep,
        bound_mm=arguments.bound,
        workers=arguments.workers,
        only_failed=arguments.only_failed,
        row=arguments.row,
        where=_where(arguments),
    )


def _where(arguments: argparse.Namespace) -> Where:
    from ..cohort.engine import Where

    names = ("scheduler", "batch", "walltime", "queue", "gpu")
    return Where(**{name: getattr(arguments, name) for name in names})


def _progress(sentence: str) -> None:
    """Show what is read where somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{sentence}\n")
