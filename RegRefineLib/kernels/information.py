"""Compiled joint histograms and look-ups; asked for by losses/mutual_information.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .door import loops
from .threads import array, spread

_NONE = np.empty(0, np.float32)


class Axis(NamedTuple):
    """An axis of the table of counts: `size` equal steps over intensities from `low` on."""

    low: float
    width: float
    size: int

    @property
    def numbers(self) -> tuple[np.float32, np.float32, int]:
        """What the loops take: where it begins, steps per intensity, and how many."""
        return np.float32(self.low), np.float32(self.size / self.width), self.size


Axes = tuple[Axis, Axis]


def extent(values: Tensor, weights: Tensor) -> tuple[float, float]:
    """Return the least and largest value (V,) where the weights are above zero; 0, 0: nowhere."""
    chunks = _chunks(values)
    found = np.empty((chunks, 2), np.float32)
    spread(loops("information").extent, chunks, array(values), array(weights), found)
    low, high = float(found[:, 0].min()), float(found[:, 1].max())
    return (0.0, 0.0) if low > high else (low, high)


def counts(fixed: Tensor, moving: Tensor, weights: Tensor | None, axes: Axes, one: int) -> Tensor:
    """Return the table (rows, columns), int64, of voxels (V,); weight 1 counts `one`."""
    rows, columns = axes
    parts = max(1, min(torch.get_num_threads(), _chunks(fixed)))
    tables = np.empty((parts, rows.size * columns.size), np.int64)
    numbers = (*rows.numbers, *columns.numbers)
    weight = _NONE if weights is None else array(weights)
    spread(
        loops("information").count,
        parts,
        (array(fixed), array(moving), weight),
        numbers,
        one,
        tables,
    )
    total = tables[0] if parts == 1 else tables.sum(axis=0)
    return torch.from_numpy(total.reshape(rows.size, columns.size))


def looked_up(
    fixed: Tensor, moving: Tensor, weights: Tensor | None, axes: Axes, slopes: Tensor
) -> Tensor:
    """Return slopes (flat) at each voxel's place (V,), 0 where `moving` leaves its axis."""
    rows, columns = axes
    out = torch.empty(moving.shape)
    low, high = np.float32(columns.low), np.float32(columns.low + columns.width)
    weight = _NONE if weights is None else array(weights)
    spread(
        loops("information").look_up,
        _chunks(moving),
        (array(fixed), array(moving), weight),
        ((*rows.numbers, *columns.numbers), low, high, array(slopes)),
        out.numpy(),
    )
    return out


def _chunks(values: Tensor) -> int:
    return -(-values.numel() // loops("information").CHUNK)
