"""Golden rows of the coarse-to-fine networks: RDP, LapWarp, MemWarp, CorrMLP, uniGradICON."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from golden.networks import Golden, Kind


def rdp_options(golden: Golden) -> dict[str, Any]:
    """Channels at full size."""
    return {"channels": golden.shapes["encoder_moving.conv0.main.weight"][0]}


def lapwarp_options(golden: Golden) -> dict[str, Any]:
    """Channels at full size and the large kernel."""
    return {
        "start_channel": golden.shapes["eninput.layer.0.weight"][0],
        "large_kernel": golden.shapes["ec3.layer.large.0.weight"][2:],
    }


def memwarp_options(golden: Golden) -> dict[str, Any]:
    """The pyramid's, and the number of memories and the width of what writes their filters."""
    prefix = "mem_warp.get_memory_filters.generate_filters"
    hidden, slots = golden.shapes[f"{prefix}.0.weight"]
    return {**lapwarp_options(golden), "hidden": hidden, "slots": slots}


def corrmlp_options(golden: Golden) -> dict[str, Any]:
    """Channels at full size."""
    return {
        "encoder_channels": golden.shapes["Encoder.Convblock_1.Conv_1.weight"][0],
        "decoder_channels": golden.shapes["Decoder.mlp_11.Conv.weight"][0],
    }


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
    "rdp": Kind("networks.rdp:RDP", rdp_options),
    "lapwarp": Kind("networks.lapwarp:LapWarp", lapwarp_options),
    "memwarp": Kind("networks.memwarp:MemWarp", memwarp_options),
    "corrmlp": Kind("networks.corrmlp:CorrMLP", corrmlp_options),
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
