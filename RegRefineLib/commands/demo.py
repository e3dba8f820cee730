"""regrefine demo: register a real pair of two people and look at the result."""

from __future__ import annotations

import argparse

from ..demo.pairs import names
from .terminal import Bar, say, show_table, table


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    known = names()
    default = next(iter(known))
    described = "; ".join(f"{name}: {text}" for name, text in known.items())
    parser.add_argument(
        "sample", nargs="?", default=default, choices=list(known), help=f"{described} ({default})"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="demo-output", help="(demo-output)"
    )
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | mps")


def run(arguments: argparse.Namespace) -> int:
    """Fetch the pair (once), register it, show the metrics and say what was written."""
    from .. import memory
    from ..demo import run as demo

    memory.keep_freed_memory()
    bar = Bar()
    try:
        done = demo.run(
            arguments.output,
            arguments.sample,
            device=arguments.device,
            report=bar,
            notify=say,
            progress=True,
        )
    finally:
        bar.close()
    say()
    show_table(table(done.stages, verdicts=True))
    seconds = ", ".join(f"{stage} {spent:.1f}" for stage, spent in done.seconds.items())
    say(f"\nseconds: {seconds}\n")
    for role, path in done.files.items():
        say(f"{role:20} {path}")
    say("\nthe scans: " + "; ".join(done.sources))
    return 0
