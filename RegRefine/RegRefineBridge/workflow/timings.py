"""How long runs took on this machine, for the estimate of the next; kept between sessions.

A JSON file beside Slicer's settings with the last few runs: what was done, on how many voxels, the
seconds of each stage and of the whole as the user waited for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from RegRefineLib.job import Job
from RegRefineLib.presets import resolve

from .history import Run
from .interfaces import PairSize
from .job_choices import effortOf

MOST = 100
METHOD = ("affine", "start", "refinement")


@dataclass(frozen=True)
class Timing:
    """One run.

    Attributes:
        method: affine, start, refinement and similarity; runs of one method are comparable.
        spacingMm: working voxels, 0 for the fixed grid's.
        effort: job_choices.effortOf.
        seconds: by stage, as the worker counted them.
        waited: from Apply to the result in the scene.
    """

    method: tuple[str, ...]
    device: str
    fixedVoxels: int
    spacing: tuple[float, ...]
    spacingMm: float
    effort: float
    seconds: dict[str, float]
    waited: float
    peakMb: float

    @property
    def overhead(self) -> float:
        """Seconds that the user waited besides the stages: transfer, start of the worker, views."""
        return max(0.0, self.waited - sum(self.seconds.values()))

    @property
    def size(self) -> PairSize:
        """The size of the pair."""
        return PairSize(self.fixedVoxels, self.fixedVoxels, self.spacing)  # type: ignore[arg-type]


class Timings:
    """The last runs, the oldest first; of a file, or of this session alone.

    A file that cannot be read or written is left alone: an estimate is not worth an error.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: list[Timing] | None = None

    def __iter__(self) -> Iterator[Timing]:
        return iter(self._loaded())

    def add(self, run: Run, waited: float) -> None:
        """Keep how long a run took; runs that were stopped say nothing."""
        if run.stopped:
            return
        entries = self._loaded()
        entries.append(
            Timing(
                methodOf(run.job),
                run.device,
                run.size.fixedVoxels,
                tuple(run.size.spacing),
                run.job.working_spacing_mm or 0.0,
                effortOf(run.job, run.size),
                run.seconds,
                waited,
                float(run.record.get("peak_memory_mb") or 0.0),
            )
        )
        del entries[:-MOST]
        self._save()

    def _loaded(self) -> list[Timing]:
        if self._entries is None:
            self._entries = [] if self._path is None else _read(self._path)
        return self._entries

    def _save(self) -> None:
        if self._path is None:
            return
        unfinished = self._path.with_suffix(".unfinished")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(
                json.dumps([asdict(entry) for entry in self._loaded()]), encoding="ascii"
            )
            unfinished.replace(self._path)
        except OSError:
            return


def methodOf(job: Job) -> tuple[str, ...]:
    """Return what makes runs comparable: linear part, start, refinement and similarity."""
    whole = resolve(job)
    return (
        *(str(getattr(whole, name) or "none") for name in METHOD),
        str(whole.settings.get("similarity", "")),
    )


def _read(path: Path) -> list[Timing]:
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text(encoding="ascii"))
        return [
            Timing(
                **{
                    **record,
                    "method": tuple(record["method"]),
                    "spacing": tuple(record["spacing"]),
                }
            )
            for record in records
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []
