"""The settings of a refinement or start for a form: declared, as the preset takes them, changed.

The declarations are the library's own settings classes; nothing is repeated here. What a user
changes is kept as text, {"refinement pyramid": {"levels": "4:40"}}, so that it stays with a scene
and comes back when the method is chosen again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import resolve
from RegRefineLib.registry import settings_class
from RegRefineLib.settings import Setting, described, read_settings

from .panel_words import inPanel

REFINEMENT, START = "refinement", "start"
# have controls of their own in the panel
ELSEWHERE = frozenset({"steps", "similarity", "landmarks", "labels", "symmetric", "weights"})


@dataclass(frozen=True)
class Row:
    """A line of the form: the setting, and the value that the run will take."""

    setting: Setting
    value: Any
    changed: bool

    @property
    def tip(self) -> str:
        """What the setting is, its range and its default."""
        default = self.setting.default
        return f"{inPanel(self.setting.help)}\n{self.setting.range}; {_words(default)}"


def _words(default: Any) -> str:
    if isinstance(default, bool):
        default = str(default).lower()
    return f"default {default}" if default != "" else "none by default"


def settingsOf(kind: str, job: Job) -> dict[str, Setting]:
    """Return the settings of the job's refinement or start by name; none for an unknown method."""
    name = getattr(resolve(job), kind) or "none"
    try:
        return {each.name: each for each in described(settings_class(kind, name))}
    except RegRefineError:
        return {}


def valuesOf(kind: str, job: Job) -> Mapping[str, Any]:
    """Return what the job gives for the settings of its refinement or start."""
    whole = resolve(job)
    return whole.settings if kind == REFINEMENT else whole.start_settings


def rowsOf(kind: str, base: Job, job: Job) -> list[Row]:
    """Return the form's lines for a job that was made from `base`, its preset as it is."""
    given, before = valuesOf(kind, job), valuesOf(kind, base)
    same = getattr(resolve(base), kind) == getattr(resolve(job), kind)
    rows = []
    for name, setting in settingsOf(kind, job).items():
        if name in ELSEWHERE:
            continue
        value = given.get(name, setting.default)
        usual = before.get(name, setting.default) if same else setting.default
        rows.append(Row(setting, value, value != usual))
    return rows


def read(kind: str, name: str, text: str) -> dict[str, Any]:
    """Return the changes that are kept for a method; none where the text is damaged."""
    try:
        kept = json.loads(text or "{}").get(f"{kind} {name}", {})
    except (ValueError, AttributeError):
        return {}
    return dict(kept) if isinstance(kept, dict) else {}


def written(kind: str, name: str, text: str, changes: Mapping[str, Any]) -> str:
    """Return the text with these changes for a method, and those of other methods as before."""
    try:
        whole = dict(json.loads(text or "{}"))
    except (ValueError, TypeError):
        whole = {}
    whole.pop(f"{kind} {name}", None)
    if changes:
        whole[f"{kind} {name}"] = dict(changes)
    return json.dumps(whole, sort_keys=True) if whole else ""


def wrong(job: Job) -> str:
    """Return what is wrong with the job's settings, or ""."""
    whole = resolve(job)
    for kind in (START, REFINEMENT):
        try:
            read_settings(settings_class(kind, getattr(whole, kind) or "none"), valuesOf(kind, job))
        except RegRefineError as error:
            return str(error)
    return ""
