"""Results: one JSON line per run, appended; runs that are recorded need not run again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RegRefineError
from ..job import finite

Record = dict[str, Any]
Key = tuple[str, str, int]


def key_of(record: Record) -> Key:
    """Return what identifies a run: pair, tool, threads."""
    return record["case"], record["tool"], int(record["threads"])


class Results:
    """The file of results. The last line of a run counts."""

    def __init__(self, path: Path):
        self.path = path
        self._records = {key_of(record): record for record in _lines(path)}

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def failed(self, key: Key) -> bool:
        """Return whether the run is recorded as failed."""
        return "error" in self._records.get(key, {})

    def add(self, record: Record) -> None:
        """Append a run."""
        record = finite(record)
        self._records[key_of(record)] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def all(self, sets: Iterable[str] | None = None) -> list[Record]:
        """Return the runs, of these sets where sets are named."""
        wanted = None if sets is None else set(sets)
        return [r for r in self._records.values() if wanted is None or r["set"] in wanted]


def _lines(path: Path) -> list[Record]:
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
        for record in records:
            _ = key_of(record), record["set"]  # raise where the line is no run's
        return records
    except (ValueError, TypeError, KeyError) as error:
        raise RegRefineError(f"--results: {path} holds a line that is not JSON of a run") from error


def revision() -> str:
    """Return the library's commit, with + where it was changed since; else its version."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    if not (root / ".git").exists():
        return __version__
    changed = git("status", "--porcelain", "--untracked-files=no", "RegRefineLib")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
