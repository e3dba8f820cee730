"""Golden rows of TransMorph and its cardiac variant."""

from __future__ import annotations

import ast
import re
from typing import Any

from golden.networks import Golden, Kind
from RegRefineLib.networks.transmorph import TransMorph, TransMorphCardiac


def stated_window(golden: Golden) -> dict[str, Any]:
    """The window that the notes state: a table's size alone does not say how it lies."""
    window = re.search(r"window (\(\d+, ?\d+, ?\d+\))", golden.meta["notes"])
    return {"window": ast.literal_eval(window.group(1))} if window else {}


def options(golden: Golden) -> dict[str, Any]:
    """Size and skips from the shapes, window from the notes."""
    return {**TransMorph.infer(golden.shapes, {}), **stated_window(golden)}


def cardiac_options(golden: Golden) -> dict[str, Any]:
    """Size from the shapes, window from the notes, steps of integration too."""
    steps = re.search(r"integration (\d+) steps", golden.meta["notes"])
    more = {"int_steps": int(steps.group(1))} if steps else {}
    return {**TransMorphCardiac.infer(golden.shapes, {}), **stated_window(golden), **more}


KINDS = {
    "transmorph": Kind("networks.transmorph:TransMorph", options),
    "transmorph_cardiac": Kind("networks.transmorph:TransMorphCardiac", cardiac_options),
}
