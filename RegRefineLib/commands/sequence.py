"""regrefine sequence SERIES -o DIR: follow a series over time from one of its frames."""

from __future__ import annotations

import argparse

from .job_options import add_method, job_of
from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "series", metavar="SERIES", help="4-D .nii, .nii.gz, .nrrd (.seq.nrrd), or a folder"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder to write to")
    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--reference", type=int, default=0, metavar="N", help="frame that all are brought onto (0)"
    )
    what.add_argument(
        "--cyclic", action="store_true", help="the motion comes back: close the cycle"
    )
    what.add_argument(
        "--smooth", type=int, default=0, metavar="TERMS", help="keep so many terms over time"
    )
    what.add_argument(
        "--independent", action="store_true", help="begin no frame with its neighbour's field"
    )
    what.add_argument("--labels", default="", metavar="FILE", help="on the reference: carried on")
    what.add_argument("--landmarks", default="", metavar="FILE", help="on the reference: paths")
    add_method(parser.add_argument_group("method"))
    parser.set_defaults(inverse=False, jacobian=False)


def run(arguments: argparse.Namespace) -> int:
    """Follow the series and say what was written."""
    from ..sequences.sequence import Extras, sequence
    from ..sequences.track import Options

    options = Options(
        arguments.reference, not arguments.independent, arguments.cyclic, arguments.smooth
    )
    extras = Extras(arguments.labels, arguments.landmarks)
    job = job_of(arguments)
    sequence(arguments.series, arguments.output, job, options, extras, say)
    say(str(arguments.output))
    return 0
