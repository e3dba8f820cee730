"""Repair the last few folds of a field by smoothing where its Jacobian determinant is <= 0.

Small compositive steps hardly ever fold, but the steps are discrete, and a given start may fold. At
a fold neighbouring points have crossed: averaging the displacement there, and only there, restores
their order. A wide collapse, such as air compressed to nothing at the image border, needs a wide
average, so folds that remain after a few rounds are averaged more widely.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .filters import box as box_window
from .filters import gaussian, window_sum
from .warp import jacobian_determinant

REACH = 2.0  # distance from a fold up to which the field is smoothed, in sigmas
ROUNDS_PER_SIGMA = 3  # of one voxel, then of two, ...
LEAST_DETERMINANT = 0.02


@torch.no_grad()
def repair_folds(displacement: Tensor, rounds: int = 20) -> Tensor:
    """Return (1, 3, D, H, W) in voxels without folds, or with those left after the last round.

    Voxels beyond the reach of every fold (a few voxels; more for folds that the first rounds leave)
    are unchanged; a field without folds is returned as it is.
    """
    determinant = jacobian_determinant(displacement)
    mended = displacement
    for done in range(rounds):
        folded = determinant < LEAST_DETERMINANT
        if not bool(folded.any()):
            break
        if mended is displacement:
            mended = displacement.clone()
        sigma = 1.0 + done // ROUNDS_PER_SIGMA
        box = (slice(None), slice(None), *_around(folded[0, 0], sigma))
        mended[box] = _smoothed_at(mended[box], folded[box], sigma)
        _update(determinant, mended, box)
    return mended


def _smoothed_at(field: Tensor, folded: Tensor, sigma: float) -> Tensor:
    """Return the field, averaged within reach of the folded voxels (1, 1, D, H, W)."""
    near = (window_sum(folded.to(field), box_window(2 * _reach(sigma) + 1)) > 0.5).to(field)
    weight = window_sum(near, gaussian(sigma)).clamp(max=1.0)
    return torch.lerp(field, _averaged(field, sigma), weight)


def _reach(sigma: float) -> int:
    return round(REACH * sigma)


def _update(determinant: Tensor, displacement: Tensor, box: tuple[slice, ...]) -> None:
    """Write the determinant within the box, except on its faces, where nothing has changed."""
    fresh = jacobian_determinant(displacement[box])
    into, out_of = [slice(None)] * 2, [slice(None)] * 2
    for side, n in zip(box[2:], displacement.shape[2:], strict=True):
        first, last = int(side.start > 0), int(side.stop < n)
        into.append(slice(side.start + first, side.stop - last))
        out_of.append(slice(first, side.stop - side.start - last))
    determinant[tuple(into)] = fresh[tuple(out_of)]


def _around(folded: Tensor, sigma: float) -> tuple[slice, ...]:
    """Return the box (D, H, W) about the true voxels, grown by all that the smoothing reads."""
    margin = _reach(sigma) + 2 * (len(gaussian(sigma)) // 2) + 1
    box = []
    for axis, n in enumerate(folded.shape):
        others = [a for a in range(3) if a != axis]
        there = folded.any(dim=others[1]).any(dim=others[0]).nonzero()
        first, last = int(there.min()), int(there.max())
        box.append(slice(max(0, first - margin), min(n, last + margin + 1)))
    return tuple(box)


def _averaged(field: Tensor, sigma: float) -> Tensor:
    """Return the local mean over voxels inside the grid."""
    ones = field.new_ones((1, 1, *field.shape[2:]))
    return window_sum(field, gaussian(sigma)) / window_sum(ones, gaussian(sigma))
