"""Presets: each a row of data that fills the fields of a Job left empty.

Standard library only. `settings` are those of the preset's refinement.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

from .errors import unknown
from .job import Job


class Preset(NamedTuple):
    """A line of help and the values of the Job's fields."""

    help: str
    values: dict[str, Any]


_REG_TTR = {"affine": "none", "start": "none", "refinement": "reg-ttr", "intensity": "minmax"}
# information -1: determined from the pair, by whether its images are of one kind
_AUTO = {"information": -1.0}
_STEPS = {"levels": "4:40 2:40 1:10", "small_steps": 40, **_AUTO}
# Hounsfield units mean the same in both scans: the relation of the intensities is known
_CT_STEPS = {**_STEPS, "information": 0.0}
_PYRAMID = {"affine": "affine", "start": "none", "refinement": "pyramid", "intensity": "minmax"}

PRESETS: dict[str, Preset] = {
    "default": Preset(
        "affine, then diffeomorphic descent to full resolution: good and quick",
        {**_PYRAMID, "settings": _STEPS},
    ),
    "fast": Preset(
        "default with fewer steps, in half the time",
        {**_PYRAMID, "settings": {"levels": "4:40 2:25 1:3", "small_steps": 20, **_AUTO}},
    ),
    "accurate": Preset(
        "default with more steps, in twice the time",
        {**_PYRAMID, "settings": {"levels": "4:60 2:60 1:30", "small_steps": 60, **_AUTO}},
    ),
    "ct": Preset(
        "default, for CT in Hounsfield units: lungs, bones, everything",
        {**_PYRAMID, "intensity": "ct", "settings": _CT_STEPS},
    ),
    "abdomen-ct": Preset(
        "default, for the soft tissue of CT",
        {**_PYRAMID, "intensity": "ct-soft", "settings": _CT_STEPS},
    ),
    "cardiac": Preset(
        "two phases of one heart: no linear part, to half resolution, smoother",
        {**_PYRAMID, "affine": "none", "settings": {"levels": "4:40 2:40", "field_sigma": 0.5}},
    ),
    "multimodal": Preset(
        "two kinds of image (T1 and T2, CT and MR): mutual information leads, not correlation",
        {
            **_PYRAMID,
            # any weight on correlation, however small, aligns structures that do not correspond (T1
            # and T2 of a spine: overlap of the cord .60 instead of .93)
            "settings": {
                "levels": "4:40 2:40 1:5",
                "small_steps": 40,
                "similarity": "mutual-information",
            },
        },
    ),
    "convexadam": Preset(
        "affine, then ConvexAdam: dense search and Adam on self-similarity, across modalities",
        {
            "affine": "affine",
            "start": "convexadam",
            "refinement": "convexadam-adam",
            "intensity": "minmax",
        },
    ),
    "reg-ttr-released": Preset(
        "Reg-TTR exactly as its published program computes it",
        {
            **_REG_TTR,
            "settings": {
                "warp": "reg-ttr",
                "keep": "after-best",
                "clip": 1.0,
                "plateau": True,
            },
        },
    ),
    "reg-ttr-paper": Preset(
        "Reg-TTR as its paper's text says: one window, diffusion, no scheduler",
        {**_REG_TTR, "settings": {"windows": "9:1", "smoothness": "l2", "keep": "last"}},
    ),
    "reg-ttr-mended": Preset(
        "Reg-TTR with a consistent warp and the best field kept",
        {**_REG_TTR, "settings": {}},
    ),
}


# earlier names, which job files, scripts and saved scenes may hold
FORMER_NAMES = {
    "released": "reg-ttr-released",
    "paper": "reg-ttr-paper",
    "fixed": "reg-ttr-mended",
}


def find_preset(name: str) -> Preset:
    """Return the preset that has, or formerly had, that name.

    Raises:
        RegRefineError: there is none; the message offers the nearest ones.
    """
    name = FORMER_NAMES.get(name, name)
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def resolve(job: Job) -> Job:
    """Return the job with every empty field filled from its preset.

    Settings given in the job win over the preset's; where the job names another refinement or
    start than the preset, the preset's settings for it do not apply.
    """
    values = find_preset(job.preset).values
    filled: dict[str, Any] = {
        name: values.get(name, fallback)
        for name, fallback in (
            ("affine", "none"),
            ("start", "none"),
            ("refinement", "none"),
            ("intensity", "minmax"),
            ("working_spacing_mm", 0.0),
        )
        if getattr(job, name) is None
    }
    if job.refinement in (None, values.get("refinement")):
        filled["settings"] = {**values.get("settings", {}), **job.settings}
    if job.start in (None, values.get("start")):
        filled["start_settings"] = {
            **values.get("start_settings", {}),
            **job.start_settings,
        }
    return job.replaced(**filled)


class _Presets(ModuleType):
    """This module as the package's public function `presets()`, whose name it shares."""

    def __call__(self) -> dict[str, str]:
        """Return every preset's name with a line of help."""
        return {name: preset.help for name, preset in PRESETS.items()}


sys.modules[__name__].__class__ = _Presets
