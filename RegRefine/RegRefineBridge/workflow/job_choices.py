"""The Method section of the panel: what was chosen in it, as a Job and back in words.

Every choice has "as the preset has it", so a Job made here names its preset and only what differs
from it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import PRESETS, resolve

from .interfaces import PairSize

NETWORK, NETWORK_IO, FIREWORK = "network", "network-io", "firework"
WITH_NETWORK = (NETWORK_IO, FIREWORK)  # refinements that need weights of their own
PYRAMID, LEVELS = "pyramid", "4:40 2:40 1:10"
SMALL = 64**3  # voxels of a level that takes `small_steps`


class Knob(NamedTuple):
    """A setting of a refinement: its name, and the value it has where nobody gives one."""

    name: str
    default: Any


class Knobs(NamedTuple):
    """What the panel can turn on a refinement; None where it has no such setting."""

    steps: Knob | None = None
    smoothness: Knob | None = None
    similarity: Knob | None = None


# The defaults are those of the refinements' own settings, whose files need torch (tested).
KNOBS: dict[str, Knobs] = {
    "none": Knobs(),
    PYRAMID: Knobs(Knob("steps", -1), Knob("force_sigma", 1.0), Knob("similarity", "ncc")),
    "reg-ttr": Knobs(Knob("steps", 10), Knob("smooth_weight", 1.0), Knob("similarity", "ncc+ssim")),
    "convexadam-adam": Knobs(Knob("steps", 80), Knob("smoothness", 1.25)),
    NETWORK_IO: Knobs(
        Knob("steps", 50), Knob("regulariser_weight", 1.5), Knob("similarity", "lncc")
    ),
    FIREWORK: Knobs(Knob("steps", 12), None, Knob("similarity", "ncc")),
}
OTHER_KNOBS = Knobs(Knob("steps", 0))


@dataclass(frozen=True)
class Choices:
    """What the Method section says; empty texts and 0 mean: as the preset has it.

    Attributes:
        preset: a name of RegRefineLib.presets or of the user's own.
        smoothness: factor of the preset's weight of smoothness.
        spacingMm: working voxels.
        model: a name of models.json, for the networks; weightsFile is used before it.
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
    model: str = ""
    weightsFile: str = ""


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
        if name in PRESETS:
            return PRESETS[name].help
        return self.own[name].help if name in self.own else ""

    def job(self, name: str) -> Job:
        """Return the preset as a job.

        Raises:
            RegRefineError: there is no such preset.
        """
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
    knobs = knobsOf(job)
    settings = dict(job.settings)
    if choices.steps > 0 and knobs.steps:
        settings[knobs.steps.name] = choices.steps
    if choices.similarity and knobs.similarity:
        settings[knobs.similarity.name] = choices.similarity
    if choices.smoothness != 1.0 and knobs.smoothness:
        name, default = knobs.smoothness
        settings[name] = float(whole.settings.get(name, default)) * choices.smoothness
    return job.replaced(settings=settings)


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


def knobsOf(job: Job) -> Knobs:
    """Return the knobs of the job's refinement."""
    return KNOBS.get(resolve(job).refinement or "none", OTHER_KNOBS)


def stepsOf(job: Job) -> int:
    """Return how many steps the job's refinement takes at most; 0 for none or not known."""
    whole = resolve(job)
    knob = knobsOf(job).steps
    given = 0 if knob is None else int(whole.settings.get(knob.name, knob.default))
    if whole.refinement == PYRAMID and given < 0:
        return sum(steps for _, steps in _levels(whole))
    return given


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
    parts = [part.split(":") for part in str(whole.settings.get("levels", LEVELS)).split()]
    try:
        return [(max(1.0, float(factor)), int(steps)) for factor, steps in parts]
    except ValueError:
        return []


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


def describe(job: Job) -> str:
    """Return the stages of a job in a few words: affine, convexadam, reg-ttr (20 steps), 2 mm."""
    whole = resolve(job)
    parts = [name for name in (whole.affine, whole.start) if name and name != "none"]
    steps = stepsOf(job)
    if whole.refinement and whole.refinement != "none":
        parts.append(f"{whole.refinement} ({steps} steps)" if steps else whole.refinement)
    if whole.working_spacing_mm:
        parts.append(f"{whole.working_spacing_mm:g} mm voxels")
    return ", ".join(parts) or "nothing but resampling"
