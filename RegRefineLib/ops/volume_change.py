"""The local change of volume of a mapping, and the step that evens it out.

For E = 1/2 int (ln det D phi)^2 and a small step phi o (id + d), integration by parts gives

    dE = int (l - 1) grad l . d     with l = ln det D phi,

so d = (1 - l) grad l goes down E: where tissue is pressed together (l < 0) neighbours flow in, most
where it is pressed most. It evens out changes of volume alone; shear and turns stay as they are,
which a Gaussian on the displacement would take along.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.door import serves
from .force import compositive_force
from .warp import jacobian_determinant

LEAST_DETERMINANT = 0.05  # ln det of a fold
LEAST_WEIGHT, MOST_WEIGHT = 0.2, 4.0
LONGEST = 0.3  # of a step, in voxels: what is explicit must stay stable
_SLAB_VOXELS = 1 << 16


@torch.no_grad()
def log_determinant(displacement: Tensor) -> Tensor:
    """Return ln det(I + grad u) (1, 1, D, H, W) of (1, 3, D, H, W) in voxels, clamped from below.

    Central differences, one-sided on the faces; a few planes at a time, so that the nine
    derivatives stay in a CPU's cache.
    """
    if serves(displacement) and min(displacement.shape[2:]) > 1:
        return jacobian_determinant(displacement).clamp_(min=LEAST_DETERMINANT).log_()
    u = displacement[0]
    depth = u.shape[1]
    step = depth if u.device.type != "cpu" else max(4, _SLAB_VOXELS // u[0, 0].numel())
    found = u.new_empty((1, 1, *u.shape[1:]))
    for first in range(0, depth, step):
        stop = min(first + step, depth)
        low, high = max(0, first - 1), min(depth, stop + 1)
        slopes = [_slope(u[:, low:high], axis) for axis in range(3)]
        (a, d, g), (b, e, h), (c, f, i) = (slope[:, first - low : stop - low] for slope in slopes)
        a, e, i = a.add_(1), e.add_(1), i.add_(1)
        result = (e * i).addcmul_(f, h, value=-1).mul_(a)
        result.addcmul_((d * i).addcmul_(f, g, value=-1), b, value=-1)
        result.addcmul_((d * h).addcmul_(e, g, value=-1), c)
        torch.log(result.clamp_(min=LEAST_DETERMINANT), out=found[0, 0, first:stop])
    return found


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


def central_gradient(image: Tensor) -> Tensor:
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


def _slope(u: Tensor, axis: int) -> Tensor:
    """Return the derivative (3, d, h, w) along an axis: central, one-sided on the faces."""
    result = torch.empty_like(u)
    n = u.shape[1 + axis]
    if n == 1:
        return result.zero_()

    def part(x: Tensor, start: int, length: int) -> Tensor:
        return x.narrow(1 + axis, start, length)

    if n > 2:
        inner = part(result, 1, n - 2)
        torch.sub(part(u, 2, n - 2), part(u, 0, n - 2), out=inner).mul_(0.5)
    torch.sub(part(u, 1, 1), part(u, 0, 1), out=part(result, 0, 1))
    torch.sub(part(u, n - 1, 1), part(u, n - 2, 1), out=part(result, n - 1, 1))
    return result
