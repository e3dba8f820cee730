"""The user's own presets in a JSON file, to be kept, shared and loaded again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from RegRefineLib.errors import RegRefineError
from RegRefineLib.io.paths import written_aside
from RegRefineLib.job import Job
from RegRefineLib.presets import PRESETS, resolve

from .job_choices import UserPreset

FORMAT = "RegRefine presets"
VERSION = 1


def savePresets(path: Path, presets: Iterable[UserPreset]) -> None:
    """Write presets into a file.

    Raises:
        RegRefineError: the file cannot be written, or a preset has a name of RegRefine's own.
    """
    entries = []
    for preset in presets:
        checkName(preset.name)
        entries.append({"name": preset.name, "help": preset.help, "job": preset.job.to_json()})
    text = json.dumps({"format": FORMAT, "version": VERSION, "presets": entries}, indent=1)
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def loadPresets(path: Path) -> list[UserPreset]:
    """Return the presets of a file.

    Raises:
        RegRefineError: the file is not there, no file of presets, or holds what this version does
            not know.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RegRefineError(f"presets: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RegRefineError(f"presets: {path} is no JSON file ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RegRefineError(f"presets: {path} is no file of presets of RegRefine")
    if record.get("version") != VERSION:
        raise RegRefineError(
            f"presets: {path} is of version {record.get('version')}, this program reads {VERSION}"
        )
    try:
        return [_preset(entry) for entry in record["presets"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise RegRefineError(f"presets: {path} is damaged ({error})") from error


def checkName(name: str) -> None:
    """Raise RegRefineError where a preset of the user cannot have this name."""
    if not name.strip():
        raise RegRefineError("preset: give it a name")
    if name in PRESETS:
        raise RegRefineError(f"preset: {name!r} is one of RegRefine's own; choose another name")


def _preset(entry: dict[str, object]) -> UserPreset:
    name = str(entry["name"])
    checkName(name)
    job = Job.from_json(entry["job"])  # type: ignore[arg-type]
    resolve(job)  # its preset must be known
    return UserPreset(name, job, str(entry.get("help", "")))
