"""Inverse consistency of two displacements: ICON (Greer, ICCV 2021), GradICON (Tian, CVPR 2023).

e(x) = x - phi_AB(phi_BA(x)) should vanish (ICON) or at least not change (GradICON). As published,
lengths here are unit cubes: an axis of N voxels runs from 0 to 1 in steps of 1/(N-1); a field is
sampled linearly and continued beyond its border. Fields come in as voxels. In float32 the finite
differences of GradICON carry rounding of about 3e-5 of their size, as in the published program.

These take two displacements, so they are no rows of the table of regularisers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops import unit_cube
from .masked import masked_mean

Offset = Callable[[Tensor], Tensor]  # points (N, 3, d, h, w) of the unit cube -> how far they move


def inverse_consistency(
    forward: Tensor, backward: Tensor, mask: Tensor | None = None, *, noise: Tensor | None = None
) -> Tensor:
    """Return ICON's mean |component of e|^2, of both orders of composition summed; a scalar.

    Args:
        forward, backward: (N, 3, D, H, W) in voxels: phi_AB and phi_BA, each other's inverse.
        mask: weights 0..1 of the points, (N, 1, D, H, W), or None for all.
        noise: standard normal numbers (N, 3, D, H, W), which move the points by 1/W of the cube
            per unit, or None for the voxels themselves.
    """
    points = cube_points(forward, noise, 1)
    a, b = offset(forward), offset(backward)
    error, reverse = _error(a, b, points), _error(b, a, points)
    return masked_mean(error.square(), mask) + masked_mean(reverse.square(), mask)


def gradient_inverse_consistency(
    forward: Tensor,
    backward: Tensor,
    mask: Tensor | None = None,
    *,
    noise: Tensor | None = None,
    stride: int = 2,
    step: float = 1e-3,
) -> Tensor:
    """Return GradICON's sum over the axes of the mean squared derivative of e, a scalar.

    Args:
        forward, backward, mask: as for `inverse_consistency`.
        noise: likewise, with `stride`/W of the cube per unit; every stride-th voxel's is used.
        stride: only every stride-th voxel along each axis is a point; uniGradICON takes 2.
        step: of the finite differences, in unit cubes.
    """
    points = cube_points(forward, noise, stride)
    weights = None if mask is None else mask[:, :, ::stride, ::stride, ::stride]
    return gradicon_of_offsets(offset(forward), offset(backward), points, weights, step=step)


def gradicon_of_offsets(
    forward: Offset,
    backward: Offset,
    points: Tensor,
    mask: Tensor | None = None,
    *,
    step: float = 1e-3,
) -> Tensor:
    """Return the same of two mappings of the unit cube that are known as functions.

    Args:
        points: where e is evaluated, (N, 3, d, h, w); see `cube_points`.
        mask: weights 0..1 of the points, (N, 1, d, h, w), or None for all.
        step: of the finite differences, in unit cubes.
    """
    error = _error(forward, backward, points)
    total = points.new_zeros(())
    for axis in range(3):
        shift = torch.zeros_like(points[:1, :, :1, :1, :1])
        shift[:, axis] = step
        change = (error - _error(forward, backward, points + shift)) / step
        total = total + masked_mean(change.square(), mask)
    return total


def offset(displacement: Tensor) -> Offset:
    """Return a displacement (N, 3, D, H, W) in voxels as a function of the unit cube's points."""
    return lambda points: unit_cube.offset(displacement, points)


def cube_points(displacement: Tensor, noise: Tensor | None, stride: int) -> Tensor:
    """Return the points (N or 1, 3, d, h, w) where e is evaluated, in unit cubes."""
    points = unit_cube.voxels(displacement)
    if noise is not None:
        points = points + noise * (stride / displacement.shape[-1])
    return points[:, :, ::stride, ::stride, ::stride]


def _error(outer: Offset, inner: Offset, points: Tensor) -> Tensor:
    """Return x - outer(inner(x)) at the points."""
    first = inner(points)
    return -(first + outer(points + first))
