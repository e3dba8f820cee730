"""The Method section of the panel: what was chosen in it, as a Job and back in words.

Every choice has "as the preset has it", so a Job made here names its preset and only what differs
from it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import FORMER_NAMES, PRESETS, resolve
from RegRefineLib.registry import settings_class
from RegRefineLib.settings import read_settings

from ..i18n import _
from .interfaces import PairSize
from .settings_list import REFINEMENT, START, settingsOf

NETWORK, NETWORK_IO, FIREWORK = "network", "network-io", "firework"
WITH_NETWORK = (NETWORK_IO, FIREWORK)  # refinements that need weights of their own
PYRAMID = "pyramid"
SMALL = 64**3  # voxels of a level that takes `small_steps`
# refinement -> the setting that the panel's slider of smoothness multiplies
SMOOTHNESS = {
    PYRAMID: "force_sigma",
    "reg-ttr": "smooth_weight",
    "convexadam-adam": "smoothness",
    NETWORK_IO: "regulariser_weight",
}


@dataclass(frozen=True)
class Choices:
    """What the Method section says; empty texts and 0 mean: as the preset has it.

    Attributes:
        preset: a name of RegRefineLib.presets or of the user's own.
        smoothness: factor of the preset's weight of smoothness.
        spacingMm: working voxels.
        gpu: the number of the GPU where the device is cuda.
        model: a name of models.json, for the networks; weightsFile is used before it.
        landmarks, labels: weights of what guides the deformation besides the images.
        settings, startSettings: single settings of the refinement and the start, which win.
    """

    preset: str = "default"
    affine: str = ""
    backbone: str = ""
    refinement: str = ""
    similarity: str = ""
    intensity: str = ""
    steps: int = 0
    smoothness: float = 1.0
    spacingMm: float = 0.0
    device: str = "auto"
    gpu: int = 0
    model: str = ""
    weightsFile: str = ""
    landmarks: float = 0.0
    labels: float = 0.0
    symmetric: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    startSettings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UserPreset:
    """A job of the user's own under a name, with a line of help."""

    name: str
    job: Job
    help: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All presets by name: RegRefine's and the user's, which must not share names."""

    own: Mapping[str, UserPreset] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the names, RegRefine's first."""
        return [*PRESETS, *(name for name in self.own if name not in PRESETS)]

    def help(self, name: str) -> str:
        """Return the line of help, or "" for a name that is not known."""
        name = FORMER_NAMES.get(name, name)
        if name in PRESETS:
            return PRESETS[name].help
        return self.own[name].help if name in self.own else ""

    def job(self, name: str) -> Job:
        """Return the preset as a job.

        Raises:
            RegRefineError: there is no such preset.
        """
        name = FORMER_NAMES.get(name, name)
        if name in PRESETS:
            return Job(preset=name)
        if name not in self.own:
            known = ", ".join(self.names())
            raise RegRefineError(f"preset: {name!r} is not loaded; known are {known}")
        return self.own[name].job


def jobOf(choices: Choices, catalogue: Catalogue) -> Job:
    """Return the job that the choices describe.

    Raises:
        RegRefineError: the preset is not known, or a value is not allowed.
    """
    base = catalogue.job(choices.preset)
    device = choices.device if choices.device != "auto" else base.device
    if device == "cuda" and choices.gpu > 0:
        device = f"cuda:{choices.gpu}"
    changes: dict[str, Any] = {"device": device}
    for name in ("affine", "start", "refinement", "intensity"):
        chosen = choices.backbone if name == "start" else getattr(choices, name)
        if chosen:
            changes[name] = chosen
    if choices.spacingMm > 0:
        changes["working_spacing_mm"] = choices.spacingMm
    job = base.replaced(**changes)
    if resolve(job).refinement != resolve(base).refinement:
        job = job.replaced(settings={})  # they are another refinement's
    if resolve(job).start != resolve(base).start:
        job = job.replaced(start_settings={})
    return _withWeights(_withSettings(job, choices), choices)


def _withSettings(job: Job, choices: Choices) -> Job:
    whole = resolve(job)
    known = settingsOf(REFINEMENT, job)
    settings = dict(job.settings)
    wanted: dict[str, Any] = {
        "steps": choices.steps if choices.steps > 0 else None,
        "similarity": choices.similarity or None,
        "landmarks": choices.landmarks or None,
        "labels": choices.labels or None,
        "symmetric": choices.symmetric or None,
    }
    smoothness = SMOOTHNESS.get(whole.refinement or "")
    if choices.smoothness != 1.0 and smoothness in known:
        usual = whole.settings.get(smoothness, known[smoothness].default)
        wanted[smoothness] = float(usual or 0) * choices.smoothness
    wanted |= choices.settings
    settings |= {n: value for n, value in wanted.items() if n in known and value is not None}
    first = settingsOf(START, job)
    start = {n: value for n, value in choices.startSettings.items() if n in first}
    return job.replaced(settings=settings, start_settings={**job.start_settings, **start})


def _withWeights(job: Job, choices: Choices) -> Job:
    weights = choices.weightsFile or choices.model
    if not weights:
        return job
    whole = resolve(job)
    if whole.start == NETWORK:
        job = job.replaced(start_settings={**job.start_settings, "weights": weights})
    if whole.refinement in WITH_NETWORK:
        job = job.replaced(settings={**job.settings, "weights": weights})
    return job


def stepsOf(job: Job) -> int:
    """Return how many steps the job's refinement takes at most; 0 for none or not known."""
    whole = resolve(job)
    known = settingsOf(REFINEMENT, job).get("steps")
    given = 0 if known is None else _whole(whole.settings.get("steps", known.default))
    if whole.refinement == PYRAMID and given < 0:
        return sum(steps for _, steps in _levels(whole))
    return given


def _whole(value: Any) -> int:
    """Return a value as a whole number, 0 where it is none: the settings' own check says so."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def effortOf(job: Job, size: PairSize | None = None) -> float:
    """Return the steps of the refinement, each counted by the share of voxels it works on.

    Args:
        size: of the pair; small levels may take more steps than `levels` says (small_steps).
    """
    whole = resolve(job)
    if whole.refinement != PYRAMID:
        return float(stepsOf(job))
    levels = _levels(whole)
    least = int(whole.settings.get("small_steps") or 0)
    if least and size is not None and int(whole.settings.get("steps", -1) or 0) < 0:
        levels = [
            (factor, max(steps, least) if steps and _voxels(size, factor) <= SMALL else steps)
            for factor, steps in levels
        ]
    share = stepsOf(job) / max(1, sum(steps for _, steps in _levels(whole)))
    return share * sum(steps / factor**3 for factor, steps in levels)


def _voxels(size: PairSize, factor: float) -> float:
    """Return about how many voxels a level of the pyramid has."""
    edge = factor * min(size.spacing)
    count = float(size.fixedVoxels)
    for spacing in size.spacing:
        count *= min(1.0, spacing / edge)
    return count


def _levels(whole: Job) -> list[tuple[float, int]]:
    """Return the pyramid's levels, [(factor, steps), ...]; none where the setting is not one."""
    values = {name: value for name, value in whole.settings.items() if name == "levels"}
    try:
        settings = read_settings(settings_class(REFINEMENT, PYRAMID), values)
        levels: list[tuple[float, int]] = settings.level_list()  # type: ignore[attr-defined]
    except RegRefineError:
        return []
    return levels


def needsWeights(job: Job) -> bool:
    """Return whether the job runs a network."""
    whole = resolve(job)
    return whole.start == NETWORK or whole.refinement in WITH_NETWORK


def weightsOf(job: Job) -> list[str]:
    """Return the weights that a job's networks run with, each once: models' names or files."""
    whole = resolve(job)
    given = []
    if whole.start == NETWORK:
        given.append(whole.start_settings.get("weights"))
    if whole.refinement in WITH_NETWORK:
        given.append(whole.settings.get("weights"))
    return list(dict.fromkeys(str(each or "") for each in given))


def missingWeights(job: Job) -> str:
    """Return what is wrong with the weights of a job's network, or ""."""
    for weights in weightsOf(job):
        if not weights:
            return "choose the network's weights: a model, or a file"
        if Path(weights).suffix and not Path(weights).is_file():
            return f"the weights file {weights} is not there"
    return ""


def describe(job: Job, readable: Callable[[str], str] = str) -> str:
    """Return the stages of a job in a few words, with arrows between them.

    Args:
        readable: turns a name of the registry into words.
    """
    whole = resolve(job)
    parts = [readable(name) for name in (whole.affine, whole.start) if name and name != "none"]
    steps = stepsOf(job)
    if whole.refinement and whole.refinement != "none":
        name = readable(whole.refinement)
        parts.append(_("{name} ({steps} steps)").format(name=name, steps=steps) if steps else name)
    if whole.working_spacing_mm:
        parts.append(_("{size:g} mm voxels").format(size=whole.working_spacing_mm))
    return " \N{RIGHTWARDS ARROW} ".join(parts) or _("nothing but resampling")
