"""Every frame of a series to its reference, each begun with what its neighbour ended with.

The fields all lead from the reference to a frame, so errors do not add up as they do where
neighbours' fields are composed; and since a frame begins where its neighbour ended, motion that is
large from the reference is small from step to step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Volume
from ..job import Extras, Job
from ..registration import register
from .series import Series
from .smoothing import smooth_in_time, spread_closure

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a series is followed.

    Attributes:
        reference: the frame that all fields begin at, counted from 0.
        warm: begin each frame with its neighbour's field.
        cyclic: the motion comes back; the closure is measured, and shared out among the frames.
        smooth: terms that are kept over time; 0: none are taken away.
    """

    reference: int = 0
    warm: bool = True
    cyclic: bool = False
    smooth: int = 0


@dataclass(frozen=True, eq=False)
class Tracked:
    """Fields from the reference to every frame, on disk.

    Attributes:
        fields: (frames, k, j, i, 3) in RAS mm, a memory map; frames that are not there are NaN.
        rows: what each frame came to, by number.
        closure_mm: mean and largest distance by which a cycle does not close, before it is spread.
    """

    fields: np.ndarray
    rows: dict[int, dict[str, Any]]
    closure_mm: tuple[float, float] | None = None

    def field(self, number: int, series: Series) -> DisplacementField:
        """Return the field from the reference to a frame."""
        return DisplacementField(np.array(self.fields[number]), series.geometry)


def track(series: Series, job: Job, options: Options, scratch: Path, say: Say) -> Tracked:
    """Return the fields from the reference frame to all frames.

    Args:
        scratch: a folder for the fields, which take 12 bytes a voxel and frame.
        say: told each frame that is done.

    Raises:
        RegRefineError: no such reference frame, or a frame that cannot be registered.
    """
    count = len(series)
    if not 0 <= options.reference < count:
        raise RegRefineError(f"--reference: a frame from 0 to {count - 1}, got {options.reference}")
    scratch.mkdir(parents=True, exist_ok=True)
    shape = (count, *series.geometry.shape, 3)
    fields = np.lib.format.open_memmap(scratch / "fields.npy", "w+", np.float32, shape)
    fields[options.reference] = 0
    follower = _Follower(series, job, options, fields, say)
    closure = None
    if options.cyclic:
        closure = follower.around()
    else:
        follower.outwards()
    if options.smooth:
        smooth_in_time(fields, options.smooth, options.reference, cyclic=options.cyclic)
    return Tracked(fields, follower.rows, closure)


class _Follower:
    """Follows a series from its reference."""

    def __init__(self, series: Series, job: Job, options: Options, fields: np.ndarray, say: Say):
        self.series, self.job, self.options = series, job, options
        self.fields, self.say = fields, say
        self.rows: dict[int, dict[str, Any]] = {}
        self.reference = series.frame(options.reference)

    def outwards(self) -> None:
        """Follow to the end, then from the reference to the beginning."""
        first, count = self.options.reference, len(self.series)
        for frames in (range(first + 1, count), range(first - 1, -1, -1)):
            before = None
            for number in frames:
                before = self._follow(number, before)

    def around(self) -> tuple[float, float]:
        """Follow once around, back to the reference; return how far it is from closed, in mm."""
        first, count = self.options.reference, len(self.series)
        order = [(first + step) % count for step in range(count)]
        before = None
        for number in order[1:]:
            before = self._follow(number, before)
        # the reference again, begun with the last frame's field: 0 where the cycle closes
        residue = self._registered(self.reference, before).vectors
        lengths = np.linalg.norm(residue, axis=-1)
        spread_closure(self.fields, residue, order)
        return float(lengths.mean()), float(lengths.max())

    def _follow(self, number: int, before: DisplacementField | None) -> DisplacementField:
        started = time.perf_counter()
        frame = self.series.frame(number)
        field = self._registered(frame, before if self.options.warm else None)
        self.fields[number] = field.vectors
        seconds = time.perf_counter() - started
        self.rows[number] = {"seconds": seconds}
        self.say(f"frame {number} of {len(self.series)}: {seconds:.1f} s")
        return field

    def _registered(
        self, frame: Volume, before: DisplacementField | FloatArray | None
    ) -> DisplacementField:
        job = self.job if before is None else replace(self.job, affine="none")
        return register(self.reference, frame, job, extras=Extras(initial=before)).field
