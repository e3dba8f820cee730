"""Compiled similarities of windowed sums with their gradient; asked for by losses/windowed.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .door import loops
from .threads import array, nothing, spread
from .windows import taps_of


class Form(NamedTuple):
    """A term that the loops know: ncc, gaussian-ncc or ssim, and its two parameters."""

    kind: str
    first: float
    second: float = 0.0


_KINDS = {"ncc": 0, "gaussian-ncc": 1, "ssim": 2}


class Images(NamedTuple):
    """All (D, H, W): J where it counts in windows, J, I; weights in the mean, None: all alike."""

    counted: Tensor
    moving: Tensor
    fixed: Tensor
    weights: Tensor | None


class Derivatives:
    """A term's loss and its derivatives by F(J), F(J^2), F(IJ), for `Images`."""

    def __init__(self, images: Images, weights: tuple[float, ...]) -> None:
        self.flat = tuple(array(x).reshape(-1) for x in images[:3])
        self.mean_weights = nothing() if images.weights is None else array(images.weights)
        self.shape = images.fixed.shape
        self.taps = taps_of(weights)
        self.by_sums = torch.empty((3, *self.shape))

    def loss(self, form: Form, maps: Tensor, count: Tensor | float) -> float:
        """Return the sum of the loss over voxels.

        Args:
            maps: of the fixed image, as the term prepares them, (q, D, H, W).
            count: what F(1) would be.
        """
        counts = np.full((1, 1, 1), count, np.float32) if isinstance(count, float) else array(count)
        losses = np.zeros(self.shape[0])
        numbers = (_KINDS[form.kind], np.float32(form.first), np.float32(form.second))
        spread(
            loops("windows").derivatives,
            self.shape[0],
            *(self.flat, (array(maps), self.mean_weights, counts), (self.taps, numbers)),
            (self.by_sums.numpy(), losses),
        )
        return float(losses.sum())

    def add_gradient(self, gradient: Tensor | None, scale: float) -> Tensor:
        """Return the loss's gradient by J (D, H, W) times `scale`, added to `gradient`."""
        out = torch.empty(self.shape) if gradient is None else gradient
        spread(
            loops("windows").gradient,
            self.shape[0],
            *(self.by_sums.numpy(), self.flat),
            (self.taps, np.float32(scale), gradient is not None),
            out.numpy(),
        )
        return out
