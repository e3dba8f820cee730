"""regrefine: the command line. A command is a file of commands/; errors are one line, status 2."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import __version__, interrupts, threads
from .commands import streams
from .errors import Cancelled, RegRefineError

# name -> module of commands/; imported only when the command runs, so that help comes at once
COMMANDS = {
    "register": "register two volumes",
    "apply": "apply transforms to an image, labels, landmarks or a model",
    "sequence": "follow a series over time from one of its frames",
    "cohort": "register many scans, on all cores or on a cluster",
    "convert": "convert transforms to another program's file format",
    "jacobian": "local volume change of a transform, voxel by voxel",
    "evaluate": "metrics of how well two label maps, images or landmark sets agree",
    "list": "presets, starts, refinements, similarities ... by name, and their settings",
    "models": "list, fetch, verify and remove networks' weights",
    "pack": "prepare training data and pack them into one file",
    "train": "train a network, or resume its training",
    "bench": "run RegRefine beside other tools on the same pairs and compare",
    "demo": "register a real pair and look at the result",
    "doctor": "versions, device, threads, memory, folders, weights: for a bug report",
    "worker": "take jobs on standard input (used by Slicer)",
}


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line and exits with status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"regrefine: {message} (see {self.prog} --help)\n")


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of `command` filled in."""
    top = _Parser(prog="regrefine", description="Deformable registration of medical volumes.")
    top.add_argument("--version", action="version", version=f"regrefine {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == command:
            importlib.import_module(f".commands.{name}", __package__).add(sub)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 dropped, 2 an error of the input."""
    threads.prepare()
    with interrupts.terminable():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    streams.prepare()
    try:
        arguments = parser(command).parse_args(words)
        run = importlib.import_module(f".commands.{arguments.command}", __package__).run
        with streams.shown_warnings():
            return int(run(arguments) or 0)
    except RegRefineError as error:
        sys.stderr.write(f"regrefine: {' '.join(str(error).split())}\n")
        return 2
    except (Cancelled, KeyboardInterrupt):
        sys.stderr.write("regrefine: dropped; nothing was written\n")
        return 1
    except BrokenPipeError:  # the reader of our output has closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
