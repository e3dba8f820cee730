"""Golden rows of VoxelMorph's layouts."""

from __future__ import annotations

import re
from typing import Any

from golden.networks import Golden, Kind
from RegRefineLib.networks.voxelmorph import VoxelMorph, VoxelMorphStrided
from RegRefineLib.networks.voxelmorph_pairwise import VoxelMorphPairwise


def classic_options(golden: Golden) -> dict[str, Any]:
    """Features from the shapes, steps of integration from the file's name or its notes."""
    name, notes = golden.meta["name"], golden.meta["notes"]
    steps = re.search(r"int(\d+)", name) or re.search(r"int_steps (\d+)", notes)
    size = re.search(r"int_downsize (\d+)", notes)
    config = {
        "int_steps": int(steps.group(1)) if steps else 0,
        "int_downsize": int(size.group(1)) if size else 2,
    }
    return VoxelMorph.infer(golden.shapes, config)


def strided_options(golden: Golden) -> dict[str, Any]:
    """Features from the shapes."""
    return VoxelMorphStrided.infer(golden.shapes, {})


def pairwise_options(golden: Golden) -> dict[str, Any]:
    """Features from the shapes."""
    return VoxelMorphPairwise.infer(golden.shapes, {})


KINDS = {
    "voxelmorph_pairwise": Kind(
        "networks.voxelmorph_pairwise:VoxelMorphPairwise", pairwise_options
    ),
    "voxelmorph_classic": Kind("networks.voxelmorph:VoxelMorph", classic_options),
    "voxelmorph_transmorph": Kind("networks.voxelmorph:VoxelMorphStrided", strided_options),
}
