"""Local correlation of two feature maps: products with one of them shifted."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted_products(a: Tensor, padded: Tensor, step: int) -> Tensor:
    """Return sum_c a_c(x) b_c(x + o) for 27 offsets o of -step, 0 and step voxels per axis.

    Args:
        a: features (N, C, D, H, W).
        padded: features b with `step` more voxels at each end, (N, C, D + 2 step, ...).

    Returns:
        (N, 27, D, H, W), the first axis' offset slowest.
    """
    d, h, w = a.shape[2:]
    starts = (0, step, 2 * step)
    products = [
        (a * padded[:, :, z : z + d, y : y + h, x : x + w]).sum(dim=1)
        for z in starts
        for y in starts
        for x in starts
    ]
    return torch.stack(products, dim=1)
