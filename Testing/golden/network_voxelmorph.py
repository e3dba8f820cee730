"""Golden rows of VoxelMorph's layouts."""

from __future__ import annotations

import re
from typing import Any

from golden.networks import Golden, Kind


def classic_options(golden: Golden) -> dict[str, Any]:
    """Features from the shapes, steps of integration from the file's name."""
    shapes = golden.shapes
    count = {
        part: sum(
            bool(re.fullmatch(rf"unet_model\.{part}\.\d+\.0\.main\.weight", n)) for n in shapes
        )
        for part in ("encoder", "decoder")
    }
    remaining = sum(
        bool(re.fullmatch(r"unet_model\.remaining\.\d+\.main\.weight", n)) for n in shapes
    )
    steps = re.search(r"int(\d+)", golden.meta["name"])
    return {
        "encoder": [
            shapes[f"unet_model.encoder.{i}.0.main.weight"][0] for i in range(count["encoder"])
        ],
        "decoder": [
            shapes[f"unet_model.decoder.{i}.0.main.weight"][0] for i in range(count["decoder"])
        ]
        + [shapes[f"unet_model.remaining.{i}.main.weight"][0] for i in range(remaining)],
        "int_steps": int(steps.group(1)) if steps else 0,
    }


def strided_options(golden: Golden) -> dict[str, Any]:
    """Features from the shapes."""
    shapes = golden.shapes

    def widths(part: str) -> list[int]:
        return [
            s[0]
            for n, s in shapes.items()
            if re.fullmatch(rf"unet_model\.{part}\.\d+\.main\.weight", n)
        ]

    return {"encoder": widths("downarm"), "decoder": widths("uparm") + widths("extras")}


KINDS = {
    "voxelmorph_classic": Kind("networks.voxelmorph:VoxelMorph", classic_options),
    "voxelmorph_transmorph": Kind("networks.voxelmorph:VoxelMorphStrided", strided_options),
}
