"""Segmentations as forces: voxels with a wrong label move towards the right one nearby.

The central difference of the overlap [m(x) = f(x)] of warped and fixed label with respect to
position only needs comparisons with the neighbours,

    along axis a:  sum over r of ( [m(x + r e_a) = f(x)] - [m(x - r e_a) = f(x)] ) / r

so that any number of labels takes two look-ups and a dozen comparisons, without a volume per label.
Only voxels with a wrong label exert a force, all of equal strength: each label contributes in
proportion to its wrong voxels, and a perfect overlap is left unchanged.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...errors import RegRefineError
from ...pair import Pair

STRENGTH = 10.0  # of one voxel's force, in units of the images' mean force
REACH = 2  # voxels of the level
UNKNOWN = -1  # a label absent from the other map, where its position is unknown


def numbered(pair: Pair) -> Pair:
    """Return the pair with its label maps numbered 0, 1, ... by the labels that both have.

    Raises:
        RegRefineError: a map is missing, or they have no label but 0 in common.
    """
    if pair.fixed_labels is None or pair.moving_labels is None:
        raise RegRefineError(
            "setting labels: segmentations of both images are needed; give both, or 0"
        )
    maps = [pair.fixed_labels[0, 0].long(), pair.moving_labels[0, 0].long()]
    fixed, moving = (set(each.unique().tolist()) for each in maps)
    common = sorted({0} | {label for label in fixed & moving if label > 0})
    if len(common) == 1:
        raise RegRefineError("setting labels: the two segmentations have no label in common")
    known = maps[0].new_tensor(common)
    kind = torch.int16 if len(common) < 2**15 else torch.int32

    def number(labels: Tensor) -> Tensor:
        place = torch.searchsorted(known, labels).clamp_(max=len(common) - 1)
        return place.where(known[place] == labels, UNKNOWN).to(kind)[None, None]

    return replace(pair, fixed_labels=number(maps[0]), moving_labels=number(maps[1]))


class LabelForce:
    """The force of two numbered label maps on the displacements of one level.

    Args:
        pair: numbered.
        shape: of the level's grid.
    """

    def __init__(self, pair: Pair, shape: tuple[int, int, int]) -> None:
        if pair.fixed_labels is None or pair.moving_labels is None:
            raise ValueError("pair: both label maps are needed")
        self.moving, self.fixed = pair.moving_labels[0, 0], pair.fixed_labels[0, 0]
        self.still = warped(self.fixed, torch.zeros((1, 3, *shape), device=pair.device))

    @torch.no_grad()
    def directions(self, fields: list[Tensor]) -> list[Tensor]:
        """Return a direction (1, 3, D, H, W) for each displacement, of length 1 or 0.

        Args:
            fields: in the level's voxels: of the moving map, and in a symmetric descent of the
                fixed map as well.
        """
        moving = warped(self.moving, fields[0])
        if len(fields) == 1:
            return [towards(moving, self.still)]
        fixed = warped(self.fixed, fields[1])
        return [towards(moving, fixed), towards(fixed, moving)]


def warped(labels: Tensor, displacement: Tensor) -> Tensor:
    """Return labels (D, H, W) through a displacement on a grid filling the same block of space.

    By nearest neighbour, with the border repeated. The displacement is in its own voxels.
    """
    index = torch.zeros((), dtype=torch.long, device=labels.device)
    for axis, n in enumerate(labels.shape):
        size = displacement.shape[2 + axis]
        along = [-1 if a == axis else 1 for a in range(3)]
        voxels = torch.arange(size, device=labels.device).view(along)
        # where a coarse voxel's centre lies between voxels, one of them stands for it in both maps
        first = (voxels + 0.5).mul_(n / size).sub_(0.5).round_()
        place = torch.add(first, displacement[0, axis], alpha=n / size)
        index = index * n + place.round_().clamp_(0, n - 1).long()
    return labels.flatten()[index]  # as `take`, which MPS does not have


def towards(own: Tensor, wanted: Tensor) -> Tensor:
    """Return the direction in `own` (D, H, W) towards the wanted labels, (1, 3, D, H, W).

    Its length is 1 where the label is wrong and the wanted one is near, otherwise 0.
    """
    direction = torch.zeros((3, *own.shape), device=own.device)
    for axis, component in enumerate(direction):
        for reach in range(1, REACH + 1):
            n = own.shape[axis] - reach
            if n < 1:
                continue
            ahead = own.narrow(axis, reach, n) == wanted.narrow(axis, 0, n)
            behind = own.narrow(axis, 0, n) == wanted.narrow(axis, reach, n)
            component.narrow(axis, 0, n).add_(ahead.float(), alpha=1.0 / reach)
            component.narrow(axis, reach, n).sub_(behind.float(), alpha=1.0 / reach)
    wrong = (own != wanted) & (own != UNKNOWN) & (wanted != UNKNOWN)
    length = direction.norm(dim=0).clamp_min_(1e-6)
    return direction.mul_(wrong / length)[None]
