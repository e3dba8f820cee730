"""Structures by name: which label of one segmentation is which of another.

Names belong together where they are equal, and else where they differ in case, blanks, hyphens and
underscores alone. Two segmentations with one structure each are taken to show the same one.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from RegRefineLib.geometry import Volume

from ..i18n import _

Colour = tuple[float, float, float]
MOST_NAMED = 5


class Structure(NamedTuple):
    """A structure's name, colour (0..1) and Slicer's terminology entry ("" where it has none)."""

    name: str
    colour: Colour
    terminology: str = ""


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map (integers, 0 outside) and its structures by value, in the order of the list."""

    volume: Volume
    structures: Mapping[int, Structure] = field(default_factory=dict)

    @property
    def names(self) -> dict[int, str]:
        """The structures' names by value."""
        return {value: structure.name for value, structure in self.structures.items()}

    @property
    def colours(self) -> dict[int, Colour]:
        """The structures' colours by value."""
        return {value: structure.colour for value, structure in self.structures.items()}


def matched(these: Mapping[int, Structure], those: Mapping[int, Structure]) -> dict[int, int]:
    """Return for each value of `these` the value of its namesake in `those`, or a new one.

    Every value of `those` is taken once; equal names come before names that are equal but for
    their writing.
    """
    if len(these) == len(those) == 1:
        return {next(iter(these)): next(iter(those))}
    found: dict[int, int] = {}
    for rule in (str, _plain):
        free = {rule(each.name): value for value, each in reversed([*those.items()])}
        for value, each in these.items():
            if value not in found and free.get(rule(each.name)) not in (None, *found.values()):
                found[value] = free[rule(each.name)]
    following = max([*those, 0]) + 1
    for value in these:
        if value not in found:
            found[value] = following
            following += 1
    return found


def unmatched(fixed: Labels | None, moving: Labels | None) -> str:
    """Return a sentence about structures that only one of the two segmentations has, or "".

    They have no overlap to be measured. `moving` is numbered like `fixed` (labelsFromNode).
    """
    if fixed is None or moving is None:
        return ""
    lonely = [
        [each.name for value, each in mine.structures.items() if value not in other.structures]
        for mine, other in ((fixed, moving), (moving, fixed))
    ]
    if len(lonely[0]) == len(fixed.structures):
        return _(
            "No structure of the two segmentations has the same name ({fixed}; {moving}), so their "
            "overlap (Dice) cannot be measured; rename the segments alike."
        ).format(fixed=_listed(lonely[0]), moving=_listed(lonely[1]))
    parts = [
        text.format(names=_listed(names))
        for names, text in zip(
            lonely, (_("only in the fixed: {names}"), _("only in the moving: {names}")), strict=True
        )
        if names
    ]
    if parts:
        return _("Structures that only one segmentation has are not measured ({parts}).").format(
            parts="; ".join(parts)
        )
    if len(fixed.structures) == 1 and _plain(next(iter(fixed.names.values()))) != _plain(
        next(iter(moving.names.values()))
    ):
        return _(
            "The two segmentations have one structure each, {one} and {other}: taken as one."
        ).format(one=_listed(fixed.names.values()), other=_listed(moving.names.values()))
    return ""


def madeUpColour(value: int) -> Colour:
    """Return a colour for a label that has none; the golden ratio keeps neighbours apart."""
    return colorsys.hsv_to_rgb((value * 0.618034) % 1.0, 0.6, 0.9)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _listed(names: object) -> str:
    every = [str(name) for name in names]  # type: ignore[attr-defined]
    more = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (
        _(" and {count} more").format(count=more) if more > 0 else ""
    )
