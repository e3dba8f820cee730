"""Golden rows of Fourier-Net and Fourier-Net+."""

from __future__ import annotations

from typing import Any

from golden.networks import Golden, Kind
from RegRefineLib.networks.fouriernet import FourierNet


def options(golden: Golden) -> dict[str, Any]:
    """Start channels from the first convolution."""
    return FourierNet.infer(golden.shapes, {})


KINDS = {
    "fouriernet": Kind("networks.fouriernet:FourierNet", options),
    "fouriernet_plus": Kind("networks.fouriernet:FourierNetPlus", options),
}
