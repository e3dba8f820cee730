"""regrefine list [TABLE]"""

from __future__ import annotations

import argparse

from ..presets import PRESETS
from ..registry import TABLES
from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("table", nargs="?", choices=list(_tables()), help="only this table")


def run(arguments: argparse.Namespace) -> int:
    """Write the tables: a name and what it is, a line each."""
    for title, rows in _tables().items():
        if arguments.table in (None, title):
            say(f"{title}:")
            width = max((len(name) for name in rows), default=0)
            for name, text in rows.items():
                say(f"  {name:{width}}  {text}")
    return 0


def _tables() -> dict[str, dict[str, str]]:
    tables = {"presets": {name: preset.help for name, preset in PRESETS.items()}}
    plural = {"similarity": "similarities"}
    for kind, rows in TABLES.items():
        tables[plural.get(kind, f"{kind}s")] = {name: row.help for name, row in rows.items()}
    return tables
