"""Pairs with a known deformation, labels and points, for the tests of the pyramid."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from RegRefineLib.geometry import Geometry
from RegRefineLib.ops.warp import warp
from RegRefineLib.pair import Pair
from RegRefineLib.refine.pyramid.landmark_force import at_points

SHAPE = (36, 40, 32)
QUICK = {"levels": "2:25 1:15"}
VOXELS = torch.stack(torch.meshgrid(*(torch.arange(n) for n in SHAPE), indexing="ij"))
POINTS = torch.tensor([[10.0, 12.0, 9.0], [22.0, 25.0, 20.0], [24.3, 12.6, 15.2]])
SHIFTS = torch.tensor([[3.0, 0.0, 0.0], [0.0, -4.0, 2.0], [1.0, 1.0, -3.0]])


def deformed_pair(**more) -> tuple[Pair, torch.Tensor]:
    """Return a pair and the displacement that made its moving image's counterpart."""
    generator = torch.Generator().manual_seed(3)

    def smooth(channels: int, cells: int) -> torch.Tensor:
        coarse = torch.rand((1, channels, cells, cells, cells), generator=generator)
        return F.interpolate(coarse, SHAPE, mode="trilinear", align_corners=True)

    moving = smooth(1, 12)
    displacement = (smooth(3, 4) - 0.5) * 5.0
    geometry = Geometry(SHAPE, np.eye(4))
    return Pair(
        warp(moving, displacement, padding="border"), moving, geometry, **more
    ), displacement


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[..., 6:-6, 6:-6, 6:-6]


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(inner(found - truth).norm(dim=1).mean())


def ball(centre: tuple[float, ...], radius: float) -> torch.Tensor:
    distance = (VOXELS - torch.tensor(centre).view(3, 1, 1, 1)).float().norm(dim=0)
    return (distance < radius).to(torch.uint8)[None, None]


def blank_pair(fixed: torch.Tensor, moving: torch.Tensor) -> Pair:
    nothing = torch.zeros((1, 1, *SHAPE))
    return Pair(
        nothing, nothing, Geometry(SHAPE, np.eye(4)), fixed_labels=fixed, moving_labels=moving
    )


def dice(pair: Pair, displacement: torch.Tensor, label: int) -> float:
    found = warp(pair.moving_labels.float(), displacement, mode="nearest") == label
    wanted = pair.fixed_labels == label
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


def missed(displacement: torch.Tensor) -> torch.Tensor:
    return (at_points(displacement, POINTS) - SHIFTS).norm(dim=1)
