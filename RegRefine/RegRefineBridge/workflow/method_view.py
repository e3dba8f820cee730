"""What the Method section shows: the list of presets, what the preset takes, what was changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from RegRefineLib.job import Job
from RegRefineLib.presets import FORMER_NAMES, resolve

from ..i18n import _
from .job_choices import WITH_NETWORK, Catalogue, describe, stepsOf
from .settings_list import REFINEMENT, START, Row, rowsOf, settingsOf, valuesOf


def published() -> dict[str, str]:
    """Return the presets that repeat a publication, and how the list calls them."""
    return {
        "reg-ttr-released": _("as its program computes"),
        "reg-ttr-paper": _("as its paper says"),
        "reg-ttr-mended": _("with its slips mended"),
    }


class PresetRow(NamedTuple):
    """A line of the list; one without a name is a heading."""

    name: str
    text: str
    tip: str


@dataclass(frozen=True)
class MethodView:
    """What to show.

    Attributes:
        presets: the lines of the list; chosen is a name, "" where it is not loaded.
        words: what the method does.
        changed: whether anything differs from the preset.
        taken: what the preset takes, by control (affine, backbone, ...), in words.
        applies: the controls that the chosen method has.
        start, refinement: the forms of their settings.
    """

    presets: tuple[PresetRow, ...] = ()
    chosen: str = ""
    words: str = ""
    changed: bool = False
    taken: Mapping[str, str] = field(default_factory=dict)
    applies: frozenset[str] = frozenset()
    start: tuple[Row, ...] = ()
    refinement: tuple[Row, ...] = ()


def presetRows(catalogue: Catalogue, chosen: str, changed: bool) -> tuple[PresetRow, ...]:
    """Return the list of presets: RegRefine's own, Reg-TTR as published, the user's."""
    names, repeated = catalogue.names(), published()

    def row(name: str, text: str = "") -> PresetRow:
        words = _("{preset} (changed)") if changed and name == chosen else "{preset}"
        tip = catalogue.help(name)
        if name in repeated:
            tip = "\n".join([tip, publishedTip()])
        return PresetRow(name, words.format(preset=text or name), tip)

    rows = [row(name) for name in names if name not in repeated and name not in catalogue.own]
    own = [row(name) for name in names if name in catalogue.own]
    if own:
        rows += [PresetRow("", _("Your own"), _("Presets that you have saved or loaded.")), *own]
    rows.append(PresetRow("", _("Reg-TTR as published"), publishedTip()))
    rows += [row(name, text) for name, text in repeated.items()]
    return tuple(rows)


def publishedTip() -> str:
    """Return what a user must know before choosing one of those."""
    return _(
        "For repeating that publication. It searches no linear alignment, folds 1 to 2 % of the "
        "voxels in our measurements and can make a pair worse: for patients take the presets above."
    )


def methodView(
    catalogue: Catalogue, preset: str, job: Job, readable: Callable[[str], str], more: str = ""
) -> MethodView:
    """Return what to show of a job that was made from a preset.

    Args:
        readable: turns a name of the registry into words.
        more: a further line, such as what will be downloaded.

    Raises:
        RegRefineError: the preset is not loaded.
    """
    preset = FORMER_NAMES.get(preset, preset)
    base = catalogue.job(preset)
    whole, usual = resolve(job), resolve(base)
    changed = _method(whole) != _method(usual)
    settings = settingsOf(REFINEMENT, base)
    similarity = settings.get("similarity")
    compared = valuesOf(REFINEMENT, base).get("similarity", similarity and similarity.default)
    taken = {
        "affine": readable(usual.affine or "none"),
        "backbone": readable(usual.start or "none"),
        "refinement": readable(usual.refinement or "none"),
        "intensity": readable(usual.intensity or "none"),
        "similarity": readable(str(compared)) if compared else _("Its own"),
        "steps": str(stepsOf(base) or 0),
        "spacing": f"{usual.working_spacing_mm:g} mm"
        if usual.working_spacing_mm
        else _("the fixed volume's"),
    }
    words = "\n".join(filter(None, [catalogue.help(preset), describe(job, readable), more]))
    return MethodView(
        presetRows(catalogue, preset, changed),
        preset,
        words,
        changed,
        taken,
        _applies(job),
        tuple(rowsOf(START, base, job)),
        tuple(rowsOf(REFINEMENT, base, job)),
    )


def _method(whole: Job) -> Job:
    """Return a job without what is no part of the method."""
    return whole.replaced(preset="default", device="auto", inverse=False, jacobian=False)


def _applies(job: Job) -> frozenset[str]:
    whole = resolve(job)
    names = set(settingsOf(REFINEMENT, job)) & {
        *("steps", "similarity", "landmarks", "labels", "symmetric")
    }
    if whole.start == "network" or whole.refinement in WITH_NETWORK:
        names.add("network")
    return frozenset(names)
