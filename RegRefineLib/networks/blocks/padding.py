"""Zeros at the far ends of the axes, up to whole windows or patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def to_multiples(x: Tensor, multiples: Sequence[int], first: int = 2) -> Tensor:
    """Return `x` with zeros appended, so that three of its sizes are multiples.

    Args:
        multiples: one number per axis.
        first: the first of the three axes: 2 of (N, C, D, H, W), 1 of (N, D, H, W, C).
    """
    missing = [-n % m for n, m in zip(x.shape[first : first + 3], multiples, strict=True)]
    if not any(missing):
        return x
    behind = [0, 0] * (x.ndim - first - 3)  # F.pad counts from the last axis
    return F.pad(x, behind + [p for n in reversed(missing) for p in (0, n)])
