"""Symmetric descent to a midway grid: registering B to A inverts the result of A to B.

Both images are warped, by displacements to a common grid midway between them (Avants 2008,
doi:10.1016/j.media.2007.06.004). The descent does not distinguish the fixed image from the moving
one, so that exchanging the images exchanges the displacements, and the mapping from one image to
the other,

    phi = phi_moving o phi_fixed^-1,

becomes its inverse. The remaining |phi_AB o phi_BA - id| is due to sampling fields on a grid, and
to the border, where one image continues and the other does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...ops.folds import repair_folds
from ...ops.warp import compose, missed

DAMPED, WHOLE = 4, 6  # rounds of the inversion


@torch.no_grad()
def across(moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the displacement (1, 3, D, H, W) from the fixed to the moving image, in voxels.

    Args:
        moving, fixed: the images' displacements to the midway grid, (1, 3, D, H, W) in voxels.
    """
    return compose(repair_folds(moving), inverse(repair_folds(fixed)))


def inverse(displacement: Tensor) -> Tensor:
    """Return the inverse displacement (1, 3, D, H, W) of one without folds, in voxels.

    With v near the inverse, phi o (id + v) = id + w with a small w, and (id + v) o (id - w) is
    nearer by the square of it. A damped fixed-point iteration (warp.invert) first brings v near
    enough for that.
    """
    found = -displacement
    for _ in range(DAMPED):
        found = found - 0.5 * missed(displacement, found)
    best, least = found, float("inf")
    for _ in range(WHOLE):
        left = missed(displacement, found)
        mean = float(left.abs().mean())
        if mean >= least:
            break
        best, least = found, mean
        found = compose(found, -left)
    return best
