"""The history of runs: what was asked, what came of it, how two runs differ.

Runs keep their settings and metrics for the session, also when they are reverted; the last few keep
their arrays on disk as well, so that an earlier result can be put back into the scene.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.job import Job
from RegRefineLib.judgement import single_values, worse
from RegRefineLib.presets import resolve
from RegRefineLib.worker.job_folder import read_result
from RegRefineLib.worker.scene_result import Ready, field_of

from ..i18n import _
from .interfaces import Nodes, PairSize, Request
from .metric_rows import measureWords, number

KEPT_ON_DISK = 5
# what a comparison of two runs shows
SHOWN = ("dice", "hd95_mm", "tre_mm", "ncc", "folds_percent", "sd_log_jacobian", "largest_mm")


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run; its nodes stay in the list when it is reverted.

    Attributes:
        number: counted from 1.
        title: the preset's name and the method in a few words.
        fixedName, movingName: the volumes' names.
        job: as it was done, every field filled.
        before, after: the metrics, a number each (judgement.single_values).
        size: of the volumes.
        seconds: wall time per stage; total is their sum.
        folder: where the result's arrays lie, or None once they have made room for later ones.
        request: what was asked for.
        sources: what publishing needs of the inputs (the scene's own, see interfaces.Material).
        memento: what the scene was like before, for undoing (interfaces.Scene.remember); None once
            the arrays have made room.
        previous: the number of the run that was in the scene before, 0 for none.
        nodes: what it was published to, by output.
        record: result.json, for the report.
    """

    number: int
    title: str
    fixedName: str
    movingName: str
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
    previous: int
    nodes: Nodes
    record: dict[str, Any]

    @property
    def total(self) -> float:
        """Seconds from the first stage to the last."""
        return sum(self.seconds.values())

    @property
    def pair(self) -> str:
        """The volumes' names: moving to fixed."""
        return _("{moving} to {fixed}").format(moving=self.movingName, fixed=self.fixedName)

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics by stage (before, initial, affine_only, after), as result.json has them."""
        names = ("before", "initial", "affine_only", "after")
        return {name: self.record[name] for name in names if self.record.get(name)}

    @property
    def field(self) -> DisplacementField:
        """The whole mapping on the fixed grid in mm: fixed world point x lies at moving x + u(x).

        Raises:
            RegRefineError: the arrays made room for later runs, or the session's folder is gone.
        """
        if self.folder is None:
            raise RegRefineError(
                _("The arrays of run {number} made room for later ones.").format(number=self.number)
            )
        place = getattr(self.sources, "movingToWorld", None)
        return field_of(read_result(self.folder), place)

    def worse(self) -> dict[str, tuple[float, float]]:
        """Return the metrics by which the result is worse than the start, with both values."""
        return worse(self.before, self.after)


class History:
    """The runs of a session, the oldest first."""

    def __init__(self, forget: Callable[[Any], None] = lambda memento: None) -> None:
        self._forget = forget  # called with each memento that is dropped
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
        run = self.find(number)
        if run is None:
            raise ValueError(f"there is no run {number}")
        return run

    def find(self, number: int) -> Run | None:
        """Return the run of that number, or None."""
        return next((run for run in self._runs if run.number == number), None)

    def clear(self) -> None:
        """Forget all runs and delete their arrays; numbers go on."""
        for run in self._runs:
            self._drop(run)
        self._runs.clear()

    def _make_room(self) -> None:
        with_arrays = [run for run in self._runs if run.folder is not None]
        for run in with_arrays[:-KEPT_ON_DISK]:
            self._drop(run)
            self.replace(run, folder=None, memento=None)

    def _drop(self, run: Run) -> None:
        _delete(run.folder)
        if run.memento is not None:
            self._forget(run.memento)


def _size(fixed: Geometry) -> PairSize:
    spacing = tuple(float(s) for s in fixed.spacing)
    return PairSize(fixed.voxel_count, fixed.voxel_count, spacing)  # type: ignore[arg-type]


def compare(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """Return (what, of the first, of the second) for all that differs between two runs.

    Runs of different volumes come with a row that says so: their metrics do not compare.
    """
    rows: list[tuple[str, str, str]] = []
    if first.pair != second.pair:
        rows.append((_("volumes (different: the metrics do not compare)"), first.pair, second.pair))
    left, right = _flat(first.job.to_json()), _flat(second.job.to_json())
    for name in sorted({*left, *right}):
        if left.get(name) != right.get(name):
            rows.append((name, _text(left.get(name)), _text(right.get(name))))
    for name in SHOWN:
        if name in first.after or name in second.after:
            values = [run.after.get(name) for run in (first, second)]
            texts = ["\N{EN DASH}" if value is None else number(name, value) for value in values]
            rows.append((measureWords(name), texts[0], texts[1]))
    rows.append((_("seconds"), f"{first.total:.3g}", f"{second.total:.3g}"))
    return rows


def summary(run: Run) -> str:
    """Return the most important metrics: Dice 0.612 -> 0.803, folds 0.01 %, largest 12.3 mm."""
    parts = []
    for name, words in (
        ("dice", _("Dice")),
        ("tre_mm", _("landmarks (mm)")),
        ("ncc", _("correlation")),
    ):
        if name in run.before and name in run.after:
            parts.append(f"{words} {_change(name, run.before[name], run.after[name])}")
    if "folds_percent" in run.after:
        parts.append(_("folds {share:.2g} %").format(share=run.after["folds_percent"]))
    if "largest_mm" in run.after:
        parts.append(_("largest {length:.1f} mm").format(length=run.after["largest_mm"]))
    return ", ".join(parts)


def worseWords(run: Run) -> str:
    """Return what got worse and by how much: Dice overlap 0.944 -> 0.851, ...; "" for nothing."""
    return ", ".join(
        f"{measureWords(name)} {_change(name, *values)}" for name, values in run.worse().items()
    )


def verdict(run: Run) -> str:
    """Return how a run ended, in a sentence or two."""
    text = (
        _("Stopped after {seconds} s: {metrics}.")
        if run.stopped
        else _("Done in {seconds} s: {metrics}.")
    )
    sentence = text.format(seconds=math.ceil(run.total), metrics=summary(run))
    if run.worse():
        sentence += " " + _("Worse than the start: {names}. Keep it, or revert?").format(
            names=worseWords(run)
        )
    return sentence


def _change(name: str, before: float, after: float) -> str:
    return f"{number(name, before)} \N{RIGHTWARDS ARROW} {number(name, after)}"


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
