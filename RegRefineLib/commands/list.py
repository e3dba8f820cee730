"""regrefine list [TABLE [NAME]]"""

from __future__ import annotations

import argparse

from ..errors import unknown
from ..presets import PRESETS, Preset, find_preset
from ..registry import REFINEMENTS, STARTS, TABLES, settings_class
from ..settings import NamedNetwork, Setting, Settings, described
from .terminal import say, show_table

_MANY = 4  # choices; more are written below the table
# tables whose rows have settings -> the kind of their rows
_WITH_SETTINGS = {"starts": "start", "refinements": "refinement"}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    tables = [*_tables(), "settings"]
    parser.add_argument("table", nargs="?", choices=tables, help="only this table")
    parser.add_argument(
        "name",
        nargs="?",
        help="a start's or refinement's name: its settings; a preset's: what it stands for",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the tables, a name and a line of help each, or the settings of one method.

    Raises:
        RegRefineError: no row of that name.
    """
    if arguments.table == "settings":
        _show_settings(arguments.name)
    elif arguments.name:
        _show_row(arguments.table, arguments.name)
    else:
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


def _show_row(table: str, name: str) -> None:
    if table in _WITH_SETTINGS:
        kind = _WITH_SETTINGS[table]
        show_settings(f"{kind} {name}", settings_class(kind, name))
    elif table == "presets":
        _show_preset(name, find_preset(name))
    else:
        rows = _tables()[table]
        if name not in rows:
            raise unknown(table, name, rows)
        say(f"{name}  {rows[name]}")


def _show_preset(name: str, preset: Preset) -> None:
    say(f"preset {name}: {preset.help}")
    for field, value in preset.values.items():
        if isinstance(value, dict):
            for each, chosen in value.items():
                say(f"  {field}.{each} = {chosen}")
        else:
            say(f"  {field} = {value}")


def _show_settings(name: str | None) -> None:
    """Write the settings of every start and refinement, or of those of one name."""
    methods = [("refinement", each) for each in REFINEMENTS] + [("start", s) for s in STARTS]
    if name is not None and name not in {each for _, each in methods}:
        raise unknown("start or refinement", name, [each for _, each in methods])
    shown = [(kind, each) for kind, each in methods if name in (None, each)]
    for n, (kind, each) in enumerate(shown):
        if n:
            say()
        show_settings(f"{kind} {each}", settings_class(kind, each))


def show_settings(title: str, kind: type[Settings]) -> None:
    """Write a table of a settings class: name, default, range and help."""
    settings = described(kind)
    rows = [[s.name, _shown(s.default), _range(s), s.help] for s in settings]
    if not rows:
        say(f"{title} has no settings")
        return
    prefix = "start." if title.startswith("start ") else ""
    say(f"{title} (--set {prefix}NAME=VALUE):")
    show_table([["setting", "default", "range", "meaning"], *rows], left=True)
    for each in settings:
        if len(each.choices) > _MANY:
            say(f"{each.name}: one of {', '.join(each.choices)}")
    if issubclass(kind, NamedNetwork):
        say("Every other name is an option of the network's constructor, lists written as JSON.")


def _range(setting: Setting) -> str:
    return "one of those below" if len(setting.choices) > _MANY else setting.range


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "-"
