"""No refinement: the start is the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..pair import Pair, Refined, Report


def refine(pair: Pair, start: Tensor, settings: Mapping[str, Any], report: Report) -> Refined:
    """Return the start (1, 3, D, H, W), untouched."""
    return Refined(start)
