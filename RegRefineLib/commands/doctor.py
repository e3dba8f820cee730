"""regrefine doctor: what a report of a fault needs."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write versions, device, threads, memory limits, folders and weights' checksums.

    The exit status is 1 where the weights of a model are not what they should be.
    """
    from ..diagnosis import diagnosis

    found = diagnosis()
    if arguments.json:
        say(json.dumps(found, indent=1))
    else:
        _show(found, 0)
    altered = any(state.startswith("ALTERED") for state in found["weights"].values())
    return 1 if altered else 0


def _show(values: dict[str, Any], depth: int) -> None:
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        if isinstance(value, dict):
            say(f"{'  ' * depth}{name}:")
            _show(value, depth + 1)
        else:
            say(f"{'  ' * depth}{name:{width}}  {value}")
