"""Trilinear sampling on a CPU, as two bilinear looks at the planes below and above each position.

torch's sampler of pictures is vectorised on CPUs, its sampler of volumes is not: three to seven
times slower per value. A stack of n planes of H rows is a picture of n H rows, and the same look at
the stack that begins one plane further up gives the other value between which z decides. Slabs keep
the stacks low, so that float32 still places rows well, and the chains of point-wise work in cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SLAB_VOXELS = 1 << 16  # for each thread: torch deals out whole planes


def fits(image: Tensor, displacement: Tensor) -> bool:
    """Whether `warped` can be had: one float32 pair on a CPU, and nobody asks for derivatives."""
    wanted = torch.is_grad_enabled() and (image.requires_grad or displacement.requires_grad)
    alike = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (image, displacement))
    one = image.shape[0] == displacement.shape[0] == 1
    return alike and not wanted and one and min(image.shape[2:]) > 1


@torch.no_grad()
def warped(image: Tensor, displacement: Tensor) -> Tensor:
    """Return `image` (1, C, D, H, W) at x + u(x), shape (1, C, *displacement's grid).

    Args:
        displacement: (1, 3, d, h, w) in voxels.

    Beyond the image its border goes on. Rows are placed to some 1e-4 voxels; where the positions of
    one slab span hundreds of planes, to 1e-2.
    """
    d, h, w = displacement.shape[2:]
    result = image.new_empty((1, image.shape[1], d, h, w))
    step = torch.get_num_threads() * max(1, _SLAB_VOXELS // (h * w))
    for first in range(0, d, step):
        slab = slice(first, min(first + step, d))
        _slab(image, displacement[0, :, slab], first, result[0, :, slab].transpose(0, 1))
    return result


def _slab(image: Tensor, displacement: Tensor, first: int, result: Tensor) -> None:
    """Fill `result` (d, C, h, w) for output planes from `first` on; displacement (3, d, h, w)."""
    _, channels, depth, height, width = image.shape
    d, h, w = displacement.shape[1:]
    planes, rows, columns = (torch.arange(n, dtype=image.dtype) for n in (d, h, w))
    z = (displacement[0] + (planes + first)[:, None, None]).clamp_(0, depth - 1)
    below = z.nan_to_num().floor_().clamp_(max=depth - 2)
    low, high = (int(plane) for plane in torch.aminmax(below))
    tall = (high - low + 1) * height
    points = image.new_empty((d, h, w, 2))
    x, y = points[..., 0], points[..., 1]
    torch.add(displacement[2], columns, out=x).mul_(2 / (width - 1)).sub_(1)
    torch.add(displacement[1], rows[:, None], out=y).clamp_(0, height - 1)
    z.sub_(below)  # now the way from the plane below to the one above
    y.add_(below.sub_(low), alpha=height).mul_(2 / (tall - 1)).sub_(1)
    looks = []
    for start in (low, low + 1):
        stack = image[:, :, start : start + high - low + 1]
        picture = stack.reshape(1, channels, tall, width).expand(d, -1, -1, -1)
        looks.append(F.grid_sample(picture, points, "bilinear", "border", True))
    torch.lerp(looks[0], looks[1], z[:, None], out=result)
