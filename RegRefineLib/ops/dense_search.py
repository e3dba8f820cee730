"""Dense displacement search: correlation, coupled convex optimisation, inverse consistency.

The discrete half of ConvexAdam (Siebert, Hansen, Heinrich 2021; TMI 2024). Features are pooled to
cells of `spacing` voxels; every integer displacement up to `reach` cells is a label with a cost at
every cell; six sweeps weigh cost against distance from a smoothed field. Fields here are
(1, 3, d, h, w) in cells, component c along array axis c, fixed cell x -> moving x + u(x).

Labels are processed one at a time on images that stay in the processor's cache: (labels, cells) is
the largest thing ever held, never (labels, channels, cells).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from .filters import box3
from .mind import features
from .warp import warp

COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, eq=False)
class Costs:
    """Costs of every label at every cell.

    Attributes:
        table: (n^3, d, h, w) with n = 2 * reach + 1; labels ordered with the first axis slowest.
        steps: (n,) the displacements along one axis, -reach..reach cells.
    """

    table: Tensor
    steps: Tensor

    def displacement(self, label: Tensor) -> Tensor:
        """Return the displacements (1, 3, d, h, w) of label numbers (d, h, w)."""
        n = len(self.steps)
        parts = (label // (n * n), label // n % n, label % n)
        return self.steps[torch.stack(parts)][None]

    def cheapest(self) -> tuple[Tensor, Tensor]:
        """Return the least cost (d, h, w) and its displacement; the first of equal labels."""
        least, label = self.table.min(dim=0)
        return least.float(), self.displacement(label)


def continued(image: Tensor, mask: Tensor | None) -> Tensor:
    """Return the image (1, 1, D, H, W) with voxels outside its mask set to the nearest inside.

    As the published program does with masks (it looks for the nearest at half resolution): what is
    masked out has no structure of its own then. The mask's rim, one voxel, counts as outside; a
    mask that is all rim is taken as it is.
    """
    if mask is None:
        return image
    mask = mask.float()
    core = F.avg_pool3d(F.pad(mask, (1,) * 6, mode="replicate"), 3, 1) > 0.9
    outside = ~(core if bool(core.any()) else mask > 0)[0, 0].cpu().numpy()
    nearest = distance_transform_edt(outside, return_distances=False, return_indices=True)
    index = [torch.from_numpy(axis).long().to(image.device) for axis in nearest]
    return image[0, 0][tuple(index)][None, None]


def cell_features(
    image: Tensor, mask: Tensor | None, radius: int, dilation: int, spacing: int
) -> Tensor:
    """Return the MIND features of an image within its mask, pooled to cells: (1, 12, d, h, w)."""
    return pool(features(continued(image, mask), radius, dilation), spacing)


def pool(image: Tensor, spacing: int) -> Tensor:
    """Return means over cells of `spacing` voxels; the remainder at the far ends is dropped."""
    return image if spacing == 1 else F.avg_pool3d(image, spacing, spacing)


def unpool(displacement: Tensor, spacing: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the field in voxels of `shape` of a field in cells of `spacing` voxels.

    The exact inverse of `pool`'s geometry: cell i is centred on voxel (i + 1/2) * spacing - 1/2;
    dropped voxels at the far ends continue the last ones.
    """
    if spacing > 1:
        displacement = F.interpolate(
            displacement * spacing, scale_factor=spacing, mode="trilinear", align_corners=False
        )
    missing = [n - m for n, m in zip(shape, displacement.shape[2:], strict=True)]
    ends = [p for m in reversed(missing) for p in (0, m)]
    return F.pad(displacement, ends, mode="replicate") if any(missing) else displacement


def correlate(
    fixed: Tensor, moving: Tensor, reach: int, *, dtype: torch.dtype = torch.float32
) -> Costs:
    """Return the squared differences of cell features at every displacement, smoothed.

    cost(l, x) = sum over channels of (fixed(x) - moving(x + l))^2, box-averaged 3^3 twice; zeros
    lie outside, both of the moving features and of the averages.

    Args:
        fixed, moving: (1, C, d, h, w), any number of channels.
        reach: the largest displacement along an axis, in cells.
        dtype: how costs are kept; half precision halves the memory of very large tables.
    """
    a = fixed[0]
    _, d, h, w = a.shape
    n = 2 * reach + 1
    padded = F.pad(moving[0], (reach,) * 6)
    table = torch.empty((n**3, d, h, w), device=a.device, dtype=dtype)
    difference = torch.empty_like(a)
    for label in range(n**3):
        z, y, x = label // (n * n), label // n % n, label % n
        torch.sub(a, padded[:, z : z + d, y : y + h, x : x + w], out=difference)
        table[label] = box3(box3(difference.square_().sum(dim=0)))
    # rounded as published (2/3 * 3 is not quite 2): Adam later amplifies even that
    return Costs(table, torch.linspace(-1, 1, n, device=a.device) * reach)


def coupled_convex(costs: Costs, coupling: tuple[float, ...] = COUPLING) -> Tensor:
    """Return the smooth field of the coupled convex optimisation, (1, 3, d, h, w) in cells.

    From the cheapest labels: average them over 3^3 cells, then choose anew the label that is cheap
    and near that average, increasingly near as the coefficients of `coupling` grow.
    """
    chosen = costs.cheapest()[1]
    for coefficient in coupling:
        chosen = _nearest_cheap(costs, box3(chosen), coefficient)
    return box3(chosen)


def _nearest_cheap(costs: Costs, soft: Tensor, coefficient: float) -> Tensor:
    """Return each cell's label of least cost + coefficient * |label - soft|^2, as displacement."""
    n = len(costs.steps)
    steps = costs.steps[:, None, None, None]
    z, y, x = ((steps - soft[:, axis]).square() for axis in range(3))
    plane = y[:, None] + x[None, :]
    best = label = None
    for i, slab in enumerate(costs.table.view(n, n, n, *soft.shape[2:])):
        total = (z[i] + plane).mul_(coefficient).add_(slab)
        least, index = total.flatten(0, 1).min(dim=0)
        index += i * n * n
        if best is None or label is None:
            best, label = least, index
            continue
        label = torch.where(least < best, index, label)
        best = torch.minimum(least, best)
    if label is None:
        raise ValueError("costs: no labels")
    return costs.displacement(label)


def inverse_consistent(
    forward: Tensor, backward: Tensor, *, iterations: int = 15, released: bool = False
) -> tuple[Tensor, Tensor]:
    """Return both fields, made approximately inverse to each other.

    u <- (u - v(x + u)) / 2 and v <- (v - u(x + v)) / 2, together. With `released`, positions are
    stretched by N/(N-1) and zeros lie outside, as in the published program; else positions are
    exact and the border value continues, so that a field does not fade where it leaves the image.
    """
    convention, padding = ("reg-ttr", "zeros") if released else ("exact", "border")
    u, v = forward, backward
    for _ in range(iterations):
        u, v = (
            (u - warp(v, u, padding=padding, convention=convention)) / 2,
            (v - warp(u, v, padding=padding, convention=convention)) / 2,
        )
    return u, v
