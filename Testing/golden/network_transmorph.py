"""Golden rows of TransMorph and its cardiac variant."""

from __future__ import annotations

import ast
import re
from typing import Any

from golden.networks import Golden, Kind
from RegRefineLib.networks.transmorph import SIZES

PUBLISHED = (5, 6, 7)


def options(golden: Golden) -> dict[str, Any]:
    """Size from the embedding and the number of blocks, window from the notes."""
    shapes = golden.shapes
    embed = next(s[0] for n, s in shapes.items() if n.endswith("patch_embed.norm.weight"))
    deep = any("layers.2.blocks.11." in n for n in shapes)
    size = next(
        name
        for name, values in SIZES.items()
        if values["embed"] == embed and (values["depths"][2] == 12) == deep
    )
    window = re.search(r"window (\(\d+, ?\d+, ?\d+\))", golden.meta["notes"])
    return {"size": size, "window": ast.literal_eval(window.group(1)) if window else PUBLISHED}


KINDS = {
    "transmorph": Kind("networks.transmorph:TransMorph", options),
    "transmorph_cardiac": Kind("networks.transmorph:TransMorphCardiac", options),
}
