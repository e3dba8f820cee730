"""The lists of the Method section as enums, which Slicer's parameter nodes save by name.

The rows are those of RegRefineLib's registry and of models.json; the first of each list leaves the
matter to the preset. Standard library only.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import AFFINES, DEVICES, INTENSITIES
from RegRefineLib.weights.catalogue import catalogue

from ..i18n import _

BY_PRESET, NO_MODEL = "BY_PRESET", "NO_MODEL"


class Choice(enum.Enum):
    """A row of a list; `value` is its name in a Job, "" where the preset decides."""

    def label(self) -> str:
        """Return what the list shows."""
        if self.name == BY_PRESET:
            return _("As in the preset")
        if self.name == NO_MODEL:
            return _("None")
        return readable(self.value)


def readable(name: str) -> str:
    """Return a name of the registry for people; one that is not known here as it is."""
    return {
        "": _("None"),
        "auto": _("Automatic"),
        "cpu": _("CPU"),
        "cuda": _("GPU (CUDA)"),
        "mps": _("GPU (Apple)"),
        "none": _("None"),
        "centre": _("Centres"),
        "rigid": _("Rigid"),
        "affine": _("Affine"),
        "centre+rigid": _("Centres, then rigid"),
        "centre+affine": _("Centres, then affine"),
        "initial": _("Initial transform"),
        "network": _("Network"),
        "convexadam": _("ConvexAdam (dense search)"),
        "convexadam-adam": _("ConvexAdam (Adam on MIND)"),
        "syn": _("SyN (needs antspyx)"),
        "pyramid": _("Diffeomorphic, coarse to fine"),
        "reg-ttr": _("Reg-TTR"),
        "network-io": _("Network, trained on for this pair"),
        "firework": _("FiRework: the network goes on from the start"),
        "ncc+ssim": _("NCC + SSIM"),
        "ncc": _("NCC"),
        "multi-ncc": _("NCC in several windows"),
        "global-ncc": _("NCC of the whole image"),
        "lncc": _("LNCC"),
        "lncc-squared": _("LNCC squared"),
        "ssim": _("SSIM"),
        "mean-squares": _("Mean squares"),
        "mind": _("MIND (across modalities)"),
        "mutual-information": _("Mutual information"),
        "normalised-mutual-information": _("Normalised mutual information"),
        "minmax": _("Least to largest value"),
        "percentile": _("Percentiles"),
        "mr": _("Least value to 99th percentile"),
        "ct": _("CT, whole range"),
        "ct-soft": _("CT, soft tissue"),
    }.get(name, name)


def choices(name: str, values: Iterable[str], first: Mapping[str, str]) -> type[Choice]:
    """Return an enum of that name: `first` (member to value), then a member for each value."""
    members = dict(first) | {_member(value): value for value in values}
    return Choice(name, members)  # type: ignore


def _member(value: str) -> str:
    """Return a value as the name of an enum's member, which stays the same as rows come and go."""
    return re.sub(r"\W+", "_", value).upper()


def modelNames() -> list[str]:
    """Return the names in models.json; none where the file is missing or damaged."""
    try:
        return list(catalogue())
    except RegRefineError:  # said when a network is chosen
        return []


_PRESET = {BY_PRESET: ""}
Affine = choices("Affine", AFFINES, _PRESET)
Backbone = choices("Backbone", registry.STARTS, _PRESET)
Refinement = choices("Refinement", registry.REFINEMENTS, _PRESET)
Similarity = choices("Similarity", ("ncc+ssim", *registry.SIMILARITIES), _PRESET)
Intensity = choices("Intensity", INTENSITIES, _PRESET)
Device = choices("Device", DEVICES, {})
Model = choices("Model", modelNames(), {NO_MODEL: ""})
