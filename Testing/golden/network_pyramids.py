"""Golden rows of the coarse-to-fine networks: RDP, LapWarp, MemWarp, CorrMLP, uniGradICON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.comparison import Comparison, compare
from golden.networks import Golden, Kind
from RegRefineLib.losses.lncc import lncc
from RegRefineLib.networks.corrmlp import CorrMLP
from RegRefineLib.networks.lapwarp import LapWarp
from RegRefineLib.networks.memwarp import MemWarp
from RegRefineLib.networks.rdp import RDP
from RegRefineLib.ops.warp import warp
from RegRefineLib.refine.network_io import find, gradicon


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


def unigradicon_losses(
    network: Any, moving: Tensor, fixed: Tensor, golden: Golden
) -> list[Comparison]:
    """The terms that instance optimisation minimises; flips are counted by the metrics."""
    there, back = find(network, moving, fixed), find(network, fixed, moving)
    similarity = lncc(fixed, warp(moving, there.displacement)) + lncc(
        moving, warp(fixed, back.displacement)
    )
    generator = np.random.default_rng([golden.meta["seed"], 8])
    numbers = generator.standard_normal((1, 3, *golden.shape))
    comparisons = []
    for name, noise in (("zero", 0.0 * numbers), ("given", numbers)):
        if f"out_losses_{name}_noise" not in golden.data:
            continue
        consistency = gradicon(there, back, torch.from_numpy(noise.astype(np.float32)))
        total, wanted_consistency, wanted_similarity = golden.data[f"out_losses_{name}_noise"][:3]
        found = 1.5 * consistency + similarity
        comparisons += [
            compare(f"{name} noise: consistency", consistency, wanted_consistency, 2e-5 * total),
            compare(f"{name} noise: similarity", similarity, wanted_similarity, 1e-5),
            compare(f"{name} noise: total", found, total, 2e-5 * total),
        ]
    return comparisons


KINDS = {
    "rdp": Kind("networks.rdp:RDP", shown(RDP)),
    "lapwarp": Kind("networks.lapwarp:LapWarp", shown(LapWarp)),
    "memwarp": Kind("networks.memwarp:MemWarp", shown(MemWarp)),
    "corrmlp": Kind("networks.corrmlp:CorrMLP", shown(CorrMLP)),
    "unigradicon": Kind(
        "networks.unigradicon:UniGradICON",
        lambda golden: {"size": golden.shape},
        unigradicon_outputs,
        dict.fromkeys(("losses_zero_noise", "losses_given_noise"), "compared term by term below"),
        unigradicon_losses,
    ),
    "icon_tallunet2": Kind(
        "networks.blocks.icon_unet:TallUNet2",
        outputs=lambda network, moving, fixed, golden: {"u": network(moving, fixed)},
    ),
}
