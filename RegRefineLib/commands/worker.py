"""regrefine worker: take jobs on standard input; see worker/server.py for the protocol."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--idle", type=float, help="leave after so many seconds without a job")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to leave."""
    from ..worker import server as serve

    options = [] if arguments.idle is None else ["--idle", str(arguments.idle)]
    return int(serve.main(options) or 0)
