"""A penalty on folds: on Jacobian determinants that are negative or close to zero.

The selective Jacobian penalty of Mok and Chung, "Fast symmetric diffeomorphic image registration"
(CVPR 2020), with a margin.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..ops.warp import jacobian_determinant
from .masked import masked_mean


def folding_penalty(
    displacement: Tensor, mask: Tensor | None = None, *, least: float = 0.05
) -> Tensor:
    """Return the mean of max(0, least - det J) of (N, 3, D, H, W) in voxels, a scalar.

    Zero where every voxel keeps more than the fraction `least` of its volume. J by central
    differences, one-sided on the faces (warp.jacobian_determinant).

    Args:
        mask: weights 0..1, (N, 1, D, H, W). A determinant counts by the least weight of its 3^3
            neighbourhood, which holds every voxel it is made of.
        least: determinants above this cost nothing.
    """
    shortfall = F.relu(least - jacobian_determinant(displacement))
    weights = None if mask is None else -F.max_pool3d(-mask.to(displacement), 3, 1, 1)
    return masked_mean(shortfall, weights)
