"""Compiled sampling through a matrix and derivatives by it; asked for by linear/measure.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .door import loops
from .threads import array, nothing, spread


class Moved(NamedTuple):
    """A volume and its weight through a matrix on a grid, (8, D, H, W) in all.

    The volume, its derivatives by the position (k, j, i), the weight, and its derivatives.
    """

    values: Tensor

    @property
    def image(self) -> Tensor:
        """The volume, (1, 1, D, H, W); its border goes on."""
        return self.values[None, 0:1]

    @property
    def weight(self) -> Tensor:
        """The weight, (1, 1, D, H, W); zero beyond its border."""
        return self.values[None, 4:5]


def through_matrix(
    image: Tensor, weight: Tensor | None, matrix: Tensor, shape: tuple[int, int, int]
) -> Moved:
    """Return image and weight (D, H, W) at matrix (3, 4) x for the voxels x of a grid.

    The matrix takes (k, j, i, 1) to positions (k, j, i) in the image.
    """
    out = torch.empty((8, *shape))
    spread(
        loops("hats").through_matrix,
        shape[0],
        *(array(image), nothing() if weight is None else array(weight)),
        *(array(matrix.float()), out.numpy()),
    )
    return Moved(out)


def by_matrix(moved: Moved, by_image: Tensor, by_weight: Tensor) -> Tensor:
    """Return the loss's derivative by the matrix, (3, 4) float64.

    Args:
        by_image, by_weight: its derivatives by the volume and the weight, (D, H, W).
    """
    sums = np.empty((moved.values.shape[1], 3, 4))
    spread(
        loops("hats").by_matrix,
        len(sums),
        *(moved.values.numpy(), (array(by_image), array(by_weight)), sums),
    )
    return torch.from_numpy(sums.sum(axis=0))
