"""Non-diffeomorphic volume (Liu et al., IJCV 2024; LUMIR's measure of folding).

A voxel's determinant by central differences can be positive where the mapping folds between
voxels. Here ten determinants per voxel, which together cover the tetrahedra around it, must all be
positive; the negative ones add up to the folded volume, in voxels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import FloatArray
from .jacobian import det3, determinant

# Columns of the two star determinants: diagonal differences in these planes, in this order, so that
# each is +2 for the identity (eight ones and twice two make 12; times 0.5/6 that is one voxel).
_STAR_DOWN = ((0, 1), (0, 2), (1, 2))
_STAR_UP = ((0, 1), (1, 2), (0, 2))


@dataclass(frozen=True)
class NonDiffeomorphic:
    """The extent of folding of a mapping.

    Attributes:
        volume, volume_percent: the non-diffeomorphic volume in voxels, and per voxel looked at.
        voxels, voxels_percent: voxels whose central-difference determinant is <= 0.
    """

    volume: float
    volume_percent: float
    voxels: int
    voxels_percent: float


def volume_map(displacement: FloatArray) -> FloatArray:
    """Return the folded volume at every voxel, (k, j, i), in voxels.

    Args:
        displacement: (3, k, j, i) in voxels, component c along array axis c. Outside the grid the
            displacement is that of the face.
    """
    u = np.asarray(displacement)
    if u.ndim != 4 or u.shape[0] != 3:
        raise ValueError(f"displacement: (3, k, j, i) is needed, got {u.shape}")
    padded = np.pad(u, [(0, 0), (1, 1), (1, 1), (1, 1)], mode="edge")
    sides = {sign: [_column(padded, (axis,), sign) for axis in range(3)] for sign in (-1, 1)}
    folded = np.zeros(u.shape[1:], dtype=u.dtype)
    for signs in itertools.product((-1, 1), repeat=3):
        folded -= np.minimum(det3([sides[s][axis] for axis, s in enumerate(signs)]), 0)
    del sides
    for planes, sign in ((_STAR_DOWN, -1), (_STAR_UP, 1)):
        folded -= np.minimum(det3([_column(padded, axes, sign) for axes in planes]), 0)
    return folded * (0.5 / 6)


def _column(padded: FloatArray, axes: tuple[int, ...], sign: int) -> list[FloatArray]:
    """Return the three components of x + u differenced one voxel along each of `axes`.

    Along sign -1 the difference is x minus its lower neighbour for one axis, but the neighbour
    minus x for a diagonal, as the star determinants have it.
    """
    shape = [n - 2 for n in padded.shape[1:]]
    step = [sign if axis in axes else 0 for axis in range(3)]
    there = tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, shape, strict=True))
    here = tuple(slice(1, 1 + n) for n in shape)
    turn = sign if len(axes) == 1 else 1
    return [turn * (padded[c][there] - padded[c][here] + step[c]) for c in range(3)]


def non_diffeomorphic(
    displacement: FloatArray, mask: NDArray[Any] | None = None, *, cropped: bool = False
) -> NonDiffeomorphic:
    """Return the folded volume and voxels of a displacement (3, k, j, i) in voxels.

    Args:
        mask: count where it is not 0; None: everywhere.
        cropped: leave out the outermost voxels, where the displacement outside the grid had to be
            assumed (as LUMIR does, with the moving label map > 0 for the mask).
    """
    inside = np.ones(displacement.shape[1:], dtype=bool) if mask is None else np.asarray(mask) != 0
    if inside.shape != displacement.shape[1:]:
        raise ValueError(f"mask: shape {inside.shape}, the grid's is {displacement.shape[1:]}")
    volumes = volume_map(displacement)
    central = determinant(displacement, "central-edge")
    if cropped:
        inner = (slice(1, -1),) * 3
        inside, volumes, central = inside[inner], volumes[inner], central[inner]
    count = int(np.count_nonzero(inside))
    volume = float(np.sum(volumes[inside], dtype=np.float64))
    voxels = int(np.count_nonzero(central[inside] <= 0))
    if not count:
        return NonDiffeomorphic(0.0, math.nan, 0, math.nan)
    return NonDiffeomorphic(volume, 100 * volume / count, voxels, 100 * voxels / count)
