"""The history of runs: what was asked, what came of it, how two runs differ.

Runs keep their settings and metrics for the session, and the last few also their arrays on disk, so
that an earlier result can be put back into the scene.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from RegRefineLib.geometry import Geometry
from RegRefineLib.job import Job
from RegRefineLib.judgement import single_values, worse
from RegRefineLib.presets import resolve
from RegRefineLib.worker.scene_result import Ready

from ..i18n import _
from .interfaces import Nodes, PairSize, Request

KEPT_ON_DISK = 5
SHOWN = ("dice", "hd95_mm", "tre_mm", "ncc", "folds_percent", "sdlogj", "largest_mm")


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run.

    Attributes:
        number: counted from 1.
        title: the preset's name and the method in a few words.
        job: as it was done, every field filled.
        before, after: the metrics, a number each (`judgement.single_values`).
        size: of the volumes.
        seconds: wall time per stage; total is their sum.
        folder: where the result's arrays lie, or None once they have made room for later ones.
        request: what was asked for.
        sources: what publishing needs of the inputs (the scene's own, see interfaces.Material).
        memento: what the scene was like before, for undoing (interfaces.Scene.remember).
        nodes: what it was published to, by output.
        record: result.json, for the report.
    """

    number: int
    title: str
    job: Job
    before: dict[str, float]
    after: dict[str, float]
    size: PairSize
    seconds: dict[str, float]
    device: str
    stopped: bool
    warnings: tuple[str, ...]
    folder: Path | None
    request: Request
    sources: Any
    memento: Any
    nodes: Nodes
    record: dict[str, Any]

    @property
    def total(self) -> float:
        """Seconds from the first stage to the last."""
        return sum(self.seconds.values())

    def worse(self) -> list[str]:
        """Return the metrics by which the result is worse than the start."""
        return list(worse(self.before, self.after))


class History:
    """The runs of a session, the oldest first."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._count = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, ready: Ready, title: str, **others: Any) -> Run:
        """Keep a run and return it; `others` are the fields that are not in the result."""
        record = ready.record
        self._count += 1
        run = Run(
            number=self._count,
            title=title,
            job=resolve(Job.from_json(record["job"])),
            before=single_values(record["before"]),
            after=single_values(record["after"]),
            size=_size(ready.warped.geometry),
            seconds=record["seconds"],
            device=record["device"],
            warnings=tuple(record["warnings"]),
            record=record,
            **others,
        )
        self._runs.append(run)
        self._make_room()
        return run

    def replace(self, run: Run, **changes: Any) -> Run:
        """Change a run that is kept; return what it is now."""
        changed = replace(run, **changes)
        self._runs[self._runs.index(run)] = changed
        return changed

    def get(self, number: int) -> Run:
        """Return the run of that number.

        Raises:
            ValueError: there is none.
        """
        for run in self._runs:
            if run.number == number:
                return run
        raise ValueError(f"there is no run {number}")

    def remove(self, run: Run) -> None:
        """Forget a run and delete its arrays."""
        self._runs.remove(run)
        _delete(run.folder)

    def clear(self) -> None:
        """Forget all runs and delete their arrays; numbers go on."""
        for run in self._runs:
            _delete(run.folder)
        self._runs.clear()

    def _make_room(self) -> None:
        with_arrays = [run for run in self._runs if run.folder is not None]
        for run in with_arrays[:-KEPT_ON_DISK]:
            _delete(run.folder)
            self.replace(run, folder=None)


def _size(fixed: Geometry) -> PairSize:
    spacing = tuple(float(s) for s in fixed.spacing)
    return PairSize(fixed.voxel_count, fixed.voxel_count, spacing)  # type: ignore[arg-type]


def compare(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """Return (what, of the first, of the second) for all that differs between two runs."""
    rows: list[tuple[str, str, str]] = []
    left, right = _flat(first.job.to_json()), _flat(second.job.to_json())
    for name in sorted({*left, *right}):
        if left.get(name) != right.get(name):
            rows.append((name, _text(left.get(name)), _text(right.get(name))))
    for name in SHOWN:
        if name in first.after or name in second.after:
            rows.append((name, _text(first.after.get(name)), _text(second.after.get(name))))
    rows.append(("seconds", _text(first.total), _text(second.total)))
    return rows


def summary(run: Run) -> str:
    """Return the metrics that tell most: Dice 0.612 -> 0.803, folds 0.01 %, largest 12.3 mm."""
    parts = []
    for name, words in (("dice", "Dice"), ("tre_mm", "landmarks (mm)"), ("ncc", "correlation")):
        if name in run.before and name in run.after:
            parts.append(
                f"{words} {run.before[name]:.3f} \N{RIGHTWARDS ARROW} {run.after[name]:.3f}"
            )
    if "folds_percent" in run.after:
        parts.append(f"folds {run.after['folds_percent']:.2g} %")
    if "largest_mm" in run.after:
        parts.append(f"largest {run.after['largest_mm']:.1f} mm")
    return ", ".join(parts)


def verdict(run: Run) -> str:
    """Return how a run ended, in a sentence or two."""
    seconds = math.ceil(run.total)
    text = (
        _("Stopped after {seconds} s: {metrics}.")
        if run.stopped
        else _("Done in {seconds} s: {metrics}.")
    )
    sentence = text.format(seconds=seconds, metrics=summary(run))
    if run.worse():
        sentence += " " + _("The result is worse than the start ({names}). Revert?").format(
            names=", ".join(run.worse())
        )
    return sentence


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _delete(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
