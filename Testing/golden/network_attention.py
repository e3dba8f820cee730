"""Golden rows of XMorpher, DMR and PR++."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from golden.networks import Golden, Kind
from RegRefineLib.networks.xmorpher import XMorpher


def xmorpher_outputs(
    network: Any, moving: Tensor, fixed: Tensor, golden: Golden
) -> dict[str, Tensor]:
    """The network's fields, and its field with the neighbour windows complete."""
    found: dict[str, Tensor] = network.fields(moving, fixed)
    corrected = XMorpher(**XMorpher.infer(golden.shapes, {}))
    corrected.load_state_dict(network.state_dict())
    return {**found, "flow_gather_corrected": corrected.eval()(moving, fixed)}


def released(golden: Golden) -> dict[str, Any]:
    """Options of a network as published."""
    return {"released": True}


def released_xmorpher(golden: Golden) -> dict[str, Any]:
    """Channels and depths from the shapes, as published."""
    return {**XMorpher.infer(golden.shapes, {}), "released": True}


KINDS = {
    "dmr": Kind("networks.dmr:DMR", released),
    "prplusplus_smile": Kind("networks.prplusplus:PRPlusPlus", released),
    "prplusplus_official": Kind("networks.prplusplus_official:PRPlusPlusOfficial", released),
    "xmorpher": Kind("networks.xmorpher:XMorpher", released_xmorpher, xmorpher_outputs),
}
