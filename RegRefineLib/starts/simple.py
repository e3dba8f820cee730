"""Starts that compute nothing: zero, and the transform the user gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import RegRefineError
from ..pair import Pair, Report


def zero(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the zero displacement, (1, 3, D, H, W)."""
    return pair.zero()


def initial(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the given transform as a displacement (1, 3, D, H, W) in voxels.

    Raises:
        RegRefineError: no transform was given.
    """
    if pair.initial is None:
        raise RegRefineError("start initial: give a transform with --init")
    return pair.initial
