"""The local change of volume of a mapping, and the step that evens it out.

For E = 1/2 int (ln det D phi)^2 and a small step phi o (id + d), integration by parts gives

    dE = int (l - 1) grad l . d     with l = ln det D phi,

so d = (1 - l) grad l decreases E: where tissue is compressed (l < 0) its neighbours flow in, most
where it is compressed most. Only changes of volume are evened out; shear and rotation, which a
Gaussian on the displacement would also smooth, are unaffected.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .force import compositive_force
from .warp import jacobian_determinant

LEAST_DETERMINANT = 0.05  # ln det of a fold
LEAST_WEIGHT, MOST_WEIGHT = 0.2, 4.0
LONGEST = 0.3  # of a step, in voxels, so that the explicit scheme stays stable


@torch.no_grad()
def log_determinant(displacement: Tensor) -> Tensor:
    """Return ln det(I + grad u) (1, 1, D, H, W) of (1, 3, D, H, W) in voxels, clamped from below.

    Central differences, one-sided on the faces.
    """
    return jacobian_determinant(displacement).clamp_(min=LEAST_DETERMINANT).log_()


@torch.no_grad()
def evening_step(displacement: Tensor, metric: Tensor, share: float) -> Tensor:
    """Return the step (1, 3, D, H, W) in voxels that evens out the change of volume.

    Args:
        displacement: in voxels.
        metric: smallest voxel edge over each axis's own, (1, 3, 1, 1, 1).
        share: of (1 - l) grad l, in squares of the smallest voxel edge.
    """
    logs = log_determinant(displacement)
    weight = (1.0 - logs).clamp_(LEAST_WEIGHT, MOST_WEIGHT).mul_(share)
    step = compositive_force(logs, weight, metric * metric)
    return step.clamp_(-LONGEST, LONGEST)
