"""Every network of the registry at a size that a test can afford."""

from __future__ import annotations

from typing import Any

import torch

from RegRefineLib.networks.base import RegistrationNetwork
from RegRefineLib.weights.load import build

NARROW = {"encoder": [4, 4, 4, 4], "decoder": [4, 4, 4, 4, 4]}
# the smallest that each constructor offers; a row that is not here is tested as it comes
SMALL: dict[str, dict[str, Any]] = {
    "voxelmorph": {**NARROW, "int_steps": 2},
    "voxelmorph-strided": NARROW,
    "voxelmorph-pairwise": {"features": [4, 4, 4, 4]},
    "transmorph": {"size": "tiny", "window": [2, 2, 2]},
    "transmorph-cardiac": {"size": "tiny", "int_steps": 2},
    "fouriernet": {"start_channels": 2},
    "fouriernet-plus": {"start_channels": 2},
    "rdp": {"channels": 4},
    "lapwarp": {"start_channel": 4},
    "memwarp": {"start_channel": 4, "hidden": 8},
    "corrmlp": {"encoder_channels": 4, "decoder_channels": 4},
    "unigradicon": {"size": 66, "width": 2},
    "firework-vm": {**NARROW, "steps": 2},
    "firework-tm": {"size": "tiny", "window": [2, 2, 2], "steps": 1},
}


def small(name: str) -> RegistrationNetwork:
    """Return the network of a registry row, always with the same weights."""
    torch.manual_seed(0)
    return build(name, SMALL.get(name, {}))
