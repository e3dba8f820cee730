"""Golden rows of the coarse-to-fine networks: RDP, LapWarp, MemWarp, CorrMLP, uniGradICON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from golden.networks import Golden, Kind
from RegRefineLib.networks.corrmlp import CorrMLP
from RegRefineLib.networks.lapwarp import LapWarp
from RegRefineLib.networks.memwarp import MemWarp
from RegRefineLib.networks.rdp import RDP


def shown(cls: Any) -> Callable[[Golden], dict[str, Any]]:
    """Return the options that the file's shapes show to the class."""
    return lambda golden: cls.infer(golden.shapes, {})


def unigradicon_outputs(
    network: Any, moving: Tensor, fixed: Tensor, golden: Golden
) -> dict[str, Tensor]:
    """The network's fields under the golden names, and the mapping at given points."""
    found = network.fields(moving, fixed)
    found["displacement_voxels"] = found.pop("flow")
    found["warped_zero_boundary"] = found.pop("warped")
    points = torch.from_numpy(golden.data["in_points"])
    return {**found, "phi_at_points": network.mapping(moving, fixed)(points)}


KINDS = {
    "rdp": Kind("networks.rdp:RDP", shown(RDP)),
    "lapwarp": Kind("networks.lapwarp:LapWarp", shown(LapWarp)),
    "memwarp": Kind("networks.memwarp:MemWarp", shown(MemWarp)),
    "corrmlp": Kind("networks.corrmlp:CorrMLP", shown(CorrMLP)),
    "unigradicon": Kind(
        "networks.unigradicon:UniGradICON",
        lambda golden: {"size": golden.shape},
        unigradicon_outputs,
        {
            "losses_zero_noise": "of the instance optimisation, checked with the losses",
            "losses_given_noise": "of the instance optimisation, checked with the losses",
        },
    ),
    "icon_tallunet2": Kind(
        "networks.icon_unet:TallUNet2",
        outputs=lambda network, moving, fixed, golden: {"u": network(moving, fixed)},
    ),
}
