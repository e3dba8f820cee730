"""The records of a run: Job, Progress and Result, and the errors that users read.

Standard library only, so that Slicer can load it without torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from .errors import RegRefineError

if TYPE_CHECKING:
    import numpy as np

    from .geometry import DisplacementField, Volume

PROTOCOL = 1
RESULT_SCHEMA = 1  # of result.json (io/result.schema.json)
Number = float | int
Setting = str | float | int | bool | None


AFFINES = ("none", "centre", "rigid", "affine", "centre+rigid", "centre+affine")
INTENSITIES = ("minmax", "percentile", "mr", "ct", "ct-soft", "none")
DEVICES = ("auto", "cpu", "cuda", "mps")
# what job files of earlier versions call the fields
FORMER_NAMES = {"backbone": "start", "backbone_settings": "start_settings"}


@dataclass(frozen=True)
class Job:
    """Everything that decides the result, apart from the images.

    A field that is None is taken from the preset (presets.py). `settings` are the refinement's own
    (steps, learning rate, weights of its terms ...) and `start_settings` the start's.

    Raises:
        RegRefineError: a value is not one of those allowed.
    """

    preset: str = "default"
    affine: str | None = None
    start: str | None = None
    refinement: str | None = None
    intensity: str | None = None
    working_spacing_mm: float | None = None
    settings: dict[str, Setting] = field(default_factory=dict)
    start_settings: dict[str, Setting] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    inverse: bool = False
    jacobian: bool = False

    def __post_init__(self) -> None:
        _one_of("affine", self.affine, (*AFFINES, None))
        _one_of("intensity", self.intensity, (*INTENSITIES, None))
        if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu|privateuseone)(:\d+)?", str(self.device)):
            raise RegRefineError(f"device: one of {', '.join(DEVICES)}, got {self.device!r}")
        spacing = self.working_spacing_mm
        if spacing is not None and not (isinstance(spacing, (int, float)) and 0 <= spacing < 1e3):
            raise RegRefineError(f"working_spacing_mm: 0 (the fixed grid) or mm, got {spacing!r}")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise RegRefineError(f"seed: a whole number from 0 to 2^63 - 1, got {self.seed!r}")
        for name in ("settings", "start_settings"):
            if not isinstance(getattr(self, name), dict):
                raise RegRefineError(f"{name}: names with values, got {getattr(self, name)!r}")

    def replaced(self, **changes: Any) -> Job:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Job:
        """Return the job that `to_json` wrote; unknown names are an error, not ignored."""
        values = {FORMER_NAMES.get(name, name): value for name, value in values.items()}
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise RegRefineError(
                f"job: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return cls(**values)


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        words = ", ".join(str(a) for a in allowed if a is not None)
        raise RegRefineError(f"{name}: one of {words}, got {value!r}")


def finite(value: Any) -> Any:
    """Return JSON values with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, eq=False)
class Extras:
    """Optional data that accompany the two images.

    Attributes:
        fixed_labels, moving_labels: integer label maps, used for metrics, and to guide the pyramid
            if its setting `labels` is above 0.
        fixed_mask, moving_mask: mask images, non-zero where the images are to be compared.
        initial: the initial transform: a DisplacementField or a 4x4, fixed RAS mm -> moving RAS mm.
        fixed_landmarks, moving_landmarks: (n, 3) corresponding points in RAS mm.
    """

    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    initial: DisplacementField | np.ndarray | None = None
    fixed_landmarks: np.ndarray | None = None
    moving_landmarks: np.ndarray | None = None


@dataclass(frozen=True)
class Progress:
    """One step of a run, as passed to the report callback.

    Attributes:
        stage: prepare, affine, start, refine or finish.
        step, steps: 0-based step of how many (steps 0: unknown).
        loss: the terms of the loss by name, `total` among them.
        metrics: live metrics: dice, folds_percent, sd_log_jacobian, largest_mm, ...
        elapsed_s, eta_s: seconds since the run began and, where known, to its end.
        message: a sentence for the log; `warning` marks those a user must see.
        displacement: the current estimate (1, 3, D, H, W) in voxels of the working grid, for live
            metrics; never part of the JSON.
    """

    stage: str
    step: int = 0
    steps: int = 0
    loss: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0
    eta_s: float | None = None
    message: str = ""
    warning: bool = False
    displacement: Any = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the event as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        del values["displacement"]
        event = "warning" if values.pop("warning") else "progress"
        return finite({"event": event, **values})  # type: ignore[no-any-return]

    def to_line(self) -> str:
        """Return the event as one line of ASCII JSON."""
        return json.dumps(self.to_json(), allow_nan=False)


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a run.

    Attributes:
        field: the whole mapping (linear part included) on the fixed grid, in mm.
        affine: 4x4, fixed RAS mm -> moving RAS mm: the linear part alone.
        warped: the moving image on the fixed grid; warped_labels likewise where labels were given.
        before, affine_only, after: metrics by name (metrics.report), as far as they are available.
        initial: those of the given initial transform; None where none was given.
        history: one record per step of the refinement.
        seconds: wall time per stage.
        warnings: what was changed or looks wrong, in sentences.
        provenance: where the result comes from (provenance.py): inputs, command, hardware,
            references.
    """

    field: DisplacementField
    affine: np.ndarray
    warped: Volume
    warped_labels: Volume | None
    inverse: DisplacementField | None
    inverse_error_mm: float | None
    jacobian: Volume | None
    before: dict[str, Any]
    affine_only: dict[str, Any]
    after: dict[str, Any]
    history: list[dict[str, float]]
    seconds: dict[str, float]
    peak_memory_mb: float
    versions: dict[str, str]
    device: str
    job: Job
    warnings: list[str]
    initial: dict[str, Any] | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the arrays, for result.json."""
        values = {
            "protocol": PROTOCOL,
            "schema": RESULT_SCHEMA,
            "job": self.job.to_json(),
            "device": self.device,
            "affine_fixed_to_moving_ras": [[float(v) for v in row] for row in self.affine],
            "before": self.before,
            "initial": self.initial,
            "affine_only": self.affine_only,
            "after": self.after,
            "inverse_error_mm": self.inverse_error_mm,
            "history": self.history,
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "versions": self.versions,
            "warnings": self.warnings,
            "provenance": self.provenance,
        }
        return finite(values)  # type: ignore[no-any-return]
