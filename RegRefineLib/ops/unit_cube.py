"""The unit cube of the ICON papers: an axis of N voxels runs from 0 to 1 in steps of 1/(N-1).

Points are (N, 3, d, h, w) with component c along array axis c. A voxel's centre lies in each corner
of the cube.
"""

from __future__ import annotations

from torch import Tensor

from .warp import identity, sample


def lengths(image: Tensor) -> Tensor:
    """Return the voxel steps along each axis of `image` (N, C, D, H, W), (1, 3, 1, 1, 1)."""
    sizes = [float(max(n - 1, 1)) for n in image.shape[2:]]
    return image.new_tensor(sizes).view(1, 3, 1, 1, 1)


def voxels(image: Tensor) -> Tensor:
    """Return the cube's points (1, 3, D, H, W) at the voxels of `image`."""
    return identity((image.shape[2], image.shape[3], image.shape[4]), image) / lengths(image)


def look_up(image: Tensor, points: Tensor, padding: str = "border") -> Tensor:
    """Return `image` (N, C, D, H, W) at points (N or 1, 3, d, h, w) of the cube."""
    positions = (points * lengths(image)).expand(len(image), *points.shape[1:])
    return sample(image, positions, padding=padding)


def offset(displacement: Tensor, points: Tensor) -> Tensor:
    """Return how far `points` move, in cubes, through a displacement (N, 3, D, H, W) in voxels.

    The displacement is interpolated linearly and continued beyond its border.
    """
    return look_up(displacement, points) / lengths(displacement)
