"""The grid of a network's input: reoriented, resampled and padded, and the way back.

The preprocessing that a model's weights require is undone on its displacement: components follow
their axes, and units are voxels of the pair's grid again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import Geometry, Volume
from ..networks.base import RegistrationNetwork, Sizes
from ..ops.warp import resize
from ..pair import Pair
from ..resample import antialiased
from ..weights.catalogue import Preprocessing

DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class NetworkGrid:
    """A pair's grid as a network's input.

    Attributes:
        geometry: the pair's.
        order: which of the pair's axes becomes the network's first, second and third.
        flips: which of the network's axes run against the pair's.
        size: the network's sizes before padding.
        margin: zeros before and behind, per axis of the network.
        level: (percentile, value) that intensities are brought to; None: as they are.
    """

    geometry: Geometry
    order: Sizes
    flips: tuple[int, ...]
    size: Sizes
    margin: tuple[tuple[int, int], ...]
    level: tuple[float, float] | None = None

    def both(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Return the moving and the fixed image as the network's input, intensities included."""
        moving, fixed = (levelled(image, self.level) for image in (pair.moving, pair.fixed))
        return self.images(moving), self.images(fixed)

    def images(self, image: Tensor) -> Tensor:
        """Return a pair's image (1, 1, D, H, W) on the network's grid, zeros around it."""
        size = self._own_axes(self.size)
        if size != self.geometry.shape:
            volume = Volume(image[0, 0].cpu().numpy(), self.geometry)
            smooth = antialiased(volume, self.geometry.resized(size)).array
            image = torch.from_numpy(np.array(smooth))[None, None].to(image)
            image = F.interpolate(image, size, mode="trilinear", align_corners=False)
        turned = image.permute(0, 1, *(2 + a for a in self.order)).flip(self._dims())
        pads = [n for pair in reversed(self.margin) for n in pair]
        return F.pad(turned, pads).contiguous()

    def displacement(self, found: Tensor) -> Tensor:
        """Return a displacement of the network's padded grid as one of the pair's grid."""
        for axis, ((before, _), n) in enumerate(zip(self.margin, self.size, strict=True)):
            found = found.narrow(2 + axis, before, n)
        found = found.flip(self._dims())
        signs = [-1.0 if axis in self.flips else 1.0 for axis in range(3)]
        found = found * found.new_tensor(signs).view(1, 3, 1, 1, 1)
        back = [self.order.index(axis) for axis in range(3)]
        found = found[:, back].permute(0, 1, *(2 + a for a in back))
        return resize(found.contiguous(), self.geometry.shape)

    def own(self, displacement: Tensor) -> Tensor:
        """Return a displacement of the pair's grid as one of the network's padded grid."""
        found = resize(displacement, self._own_axes(self.size))
        found = found[:, list(self.order)].permute(0, 1, *(2 + a for a in self.order))
        signs = [-1.0 if axis in self.flips else 1.0 for axis in range(3)]
        found = found.flip(self._dims()) * found.new_tensor(signs).view(1, 3, 1, 1, 1)
        pads = [n for pair in reversed(self.margin) for n in pair]
        return F.pad(found, pads, mode="replicate").contiguous() if any(pads) else found

    def _own_axes(self, sizes: Sizes) -> Sizes:
        """Return the network's sizes in the order of the pair's axes."""
        return tuple(sizes[self.order.index(a)] for a in range(3))  # type: ignore[return-value]

    def _dims(self) -> list[int]:
        return [2 + axis for axis in self.flips]


def levelled(image: Tensor, level: tuple[float, float] | None) -> Tensor:
    """Return the image multiplied so that a percentile of its positive voxels has a value."""
    positive = image[image > 0]
    if level is None or not len(positive):
        return image
    found = float(np.percentile(positive.float().cpu().numpy(), level[0]))
    return image * (level[1] / found)


def network_grid(
    geometry: Geometry,
    wanted: Preprocessing,
    network: RegistrationNetwork,
) -> NetworkGrid:
    """Return the grid on which `network` registers a pair of `geometry`.

    Args:
        wanted: the preprocessing that the network's weights require.
    """
    order, flips = _turned(geometry, wanted.orientation)
    sizes = [geometry.shape[a] for a in order]
    if wanted.shape is not None:
        sizes = list(wanted.shape)
    elif (millimetres := wanted.spacing_mm or network.spacing_mm) is not None:
        spacing = [float(geometry.spacing[2 - a]) for a in order]
        sizes = [max(1, round(n * s / millimetres)) for n, s in zip(sizes, spacing, strict=True)]
    size: Sizes = (sizes[0], sizes[1], sizes[2])
    missing = [whole - n for n, whole in zip(size, network.fitting(size), strict=True)]
    margin = tuple((n // 2, n - n // 2) for n in missing)
    return NetworkGrid(geometry, order, flips, size, margin, wanted.level)


def _turned(geometry: Geometry, orientation: str | None) -> tuple[Sizes, tuple[int, ...]]:
    """Return which axes of the grid are closest to the wanted directions, and which are reversed.

    Arrays without a header get the identity (or LPS's) as their geometry; their axes are assumed to
    be those that the model was trained with, because nothing else is known.
    """
    headerless = np.array_equal(np.abs(geometry.affine), np.eye(4))
    if orientation is None or headerless:
        return (0, 1, 2), ()
    # rows: array axes (k, j, i) of the grid as RAS unit vectors
    axes = geometry.direction.T[::-1]
    wanted = [DIRECTIONS[letter] for letter in orientation]

    def fit(order: tuple[int, ...]) -> float:
        return sum(abs(float(axes[a, ras])) for a, (ras, _) in zip(order, wanted, strict=True))

    order = max(permutations(range(3)), key=fit)
    flips = tuple(
        n for n, (a, (ras, sign)) in enumerate(zip(order, wanted, strict=True))
        if np.sign(axes[a, ras]) != sign
    )  # fmt: skip
    return order, flips  # type: ignore[return-value]
