"""Compiled separable windows; asked for by ops/filters.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .door import loops
from .threads import array, spread


def taps_of(weights: tuple[float, ...]) -> Any:
    """Return the weights from the middle outwards: an even number, four at least."""
    taps = weights[len(weights) // 2 :]
    size = max(4, len(taps) + len(taps) % 2)
    return np.array(taps + (0.0,) * (size - len(taps)), np.float32)


class _Window(torch.autograd.Function):
    """The window over (q, D, H, W), zeros outside: its own adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: tuple[float, ...]) -> Tensor:
        ctx.weights = weights
        out = torch.empty(x.shape, dtype=x.dtype)
        spread(
            loops("windows").window,
            x.shape[0] * x.shape[1],
            *(array(x), taps_of(weights), out.numpy()),
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return _Window.apply(grad_outputs[0], ctx.weights), None


def summed(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the window over (q, D, H, W), zeros outside; differentiable."""
    return _Window.apply(x, weights)  # type: ignore[no-any-return]
