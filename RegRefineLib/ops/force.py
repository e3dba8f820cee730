"""The force of a similarity on a displacement that is to be composed with a step, and its limit.

Every function has a torch form, the reference and a GPU's, and a compiled one for float32 on a CPU
(kernels/door.py decides which).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import motion
from ..kernels.door import serves


@torch.no_grad()
def compositive_force(warped: Tensor, slope: Tensor, metric: Tensor) -> Tensor:
    """Return slope * metric * gradient of the warped image, (1, 3, D, H, W).

    That is dL/dd at d = 0 of L(I o phi o (id + d)) (Avants 2008, doi:10.1016/j.media.2007.06.004).
    Central differences, zero on the faces.

    Args:
        warped: I o phi, (1, 1, D, H, W).
        slope: dL/d(I o phi), of its shape.
        metric: factor of each axis, (1, 3, 1, 1, 1).
    """
    if serves(warped, slope, metric):
        z, y, x = metric.flatten().tolist()
        return motion.force(warped[0, 0], slope[0, 0], (z, y, x))[None]
    return central_differences(warped).mul_(slope).mul_(metric)


def central_differences(image: Tensor) -> Tensor:
    """Return the central differences (1, 3, D, H, W) of (1, 1, D, H, W); zero on the faces."""
    result = image.new_zeros((1, 3, *image.shape[2:]))
    for axis in range(3):
        n = image.shape[2 + axis]
        if n > 2:
            ahead = image.narrow(2 + axis, 2, n - 2)
            behind = image.narrow(2 + axis, 0, n - 2)
            inner = result[:, axis : axis + 1].narrow(2 + axis, 1, n - 2)
            torch.sub(ahead, behind, out=inner).mul_(0.5)
    return result


@torch.no_grad()
def typical_length(force: Tensor) -> float:
    """Return sum |g|^2 / sum |g| of (1, 3, D, H, W): a mean that empty space leaves alone."""
    if serves(force):
        lengths, squares = motion.length_sums(force[0])
    else:
        length = force.square().sum(dim=1).sqrt_()
        lengths, squares = float(length.sum()), float(length.square().sum())
    return squares / max(lengths, 1e-30)


@torch.no_grad()
def limited(force: Tensor, least: float) -> Tensor:
    """Return force / max(|force|, least), (1, 3, D, H, W): no vector is longer than 1."""
    if serves(force):
        return motion.limited(force[0], least)[None]
    return force / force.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(least)
