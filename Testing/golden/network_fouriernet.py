"""Golden rows of Fourier-Net and Fourier-Net+."""

from __future__ import annotations

from typing import Any

from golden.networks import Golden, Kind


def options(golden: Golden) -> dict[str, Any]:
    """Start channels from the first convolution."""
    shapes = golden.shapes
    first = next(s for n, s in shapes.items() if n.endswith("eninput.0.weight"))
    return {"start_channels": first[0]}


KINDS = {
    "fouriernet": Kind("networks.fouriernet:FourierNet", options),
    "fouriernet_plus": Kind("networks.fouriernet:FourierNetPlus", options),
}
