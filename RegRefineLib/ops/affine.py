"""Resampling a volume through a matrix, with derivatives by its twelve entries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..kernels import affine
from ..kernels.door import serves
from .warp import identity, sample

Shape = tuple[int, int, int]


def through_matrix(
    image: Tensor, weight: Tensor | None, matrix: Tensor, shape: Shape
) -> tuple[Tensor, Tensor]:
    """Return image and weight (1, 1, D, H, W) at matrix x for the voxels x of a grid of `shape`.

    A weight of None is one everywhere.

    Outside, the image repeats its border; the weight is zero, fading in over one voxel.
    Differentiable in the matrix.

    Args:
        matrix: (3, 4), float64: takes voxels (k, j, i, 1) of the grid to voxels (k, j, i).
    """
    if serves(image, weight):
        return _ThroughMatrix.apply(matrix, image, weight, shape)  # type: ignore[no-any-return]
    rows = matrix.to(image)
    linear = torch.einsum("rc,ncdhw->nrdhw", rows[:, :3], identity(shape, image))
    positions = linear + rows[:, 3].view(1, 3, 1, 1, 1)
    weight = torch.ones_like(image) if weight is None else weight
    return sample(image, positions, padding="border"), sample(weight, positions)


class _ThroughMatrix(torch.autograd.Function):
    """The compiled form: derivatives by the positions are kept, and summed up on demand."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, image: Tensor, weight: Tensor | None, shape: Shape
    ) -> tuple[Tensor, Tensor]:
        there = None if weight is None else weight[0, 0]
        moved = affine.through_matrix(image[0, 0], there, matrix, shape)
        ctx.moved = moved
        return moved.image, moved.weight

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_image, by_weight = grad_outputs
        found = affine.by_matrix(ctx.moved, by_image[0, 0], by_weight[0, 0])
        return found, None, None, None
