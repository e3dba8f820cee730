"""uniGradICON and multiGradICON (Tian et al., MICCAI 2024; Demir et al., WBIR 2024).

One architecture, two sets of weights. Four U-Nets, the first at a quarter of the size, the second
at half of it, each correcting what the previous ones have left; the mapping is their composition x
-> u1(u2(u3(u4(x)))) (u meaning x + u(x)) in a unit cube with a voxel's centre in each corner. The
published program is trained for 175^3 voxels, whatever the image's own proportions; here the images
are squeezed into that cube and the displacement comes back in voxels of the images' grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RegRefineError
from ..ops import unit_cube
from ..ops.warp import resize
from .base import RegistrationNetwork, Shapes, Sizes
from .blocks.icon_unet import TallUNet2

SMALLEST = 65  # a quarter of it, rounded up, can be halved five times


@dataclass(frozen=True, eq=False)
class Composition:
    """x -> x + u_n(x), then the one before, to x + u_1(x); fields (N, 3, ...) in the unit cube."""

    fields: tuple[Tensor, ...]

    def __call__(self, points: Tensor) -> Tensor:
        """Return where `points` (N, 3, d, h, w) of the fixed cube lie in the moving cube."""
        return points + self.offset(points)

    def offset(self, points: Tensor) -> Tensor:
        """Return how far `points` move; summed apart from the points, so that less is rounded."""
        total = torch.zeros_like(points)
        for field in reversed(self.fields):
            total = total + unit_cube.look_up(field, points + total)
        return total

    def on_grid(self, image: Tensor) -> Tensor:
        """Return where the voxels of `image` lie; a field of that size is not interpolated."""
        return unit_cube.voxels(image) + self._offset_on_grid(image)

    def _offset_on_grid(self, image: Tensor) -> Tensor:
        last = self.fields[-1]
        if last.shape[2:] != image.shape[2:]:
            return self.offset(unit_cube.voxels(image).expand(len(last), -1, -1, -1, -1))
        return last + Composition(self.fields[:-1]).offset(unit_cube.voxels(image) + last)

    def displacement(self, image: Tensor) -> Tensor:
        """Return how far the voxels of `image` move, (N, 3, D, H, W) in its voxels."""
        return self._offset_on_grid(image) * unit_cube.lengths(image)


class _Single(nn.Module):
    """One U-Net's displacement."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = TallUNet2(width)

    def forward(self, a: Tensor, b: Tensor) -> Composition:
        return Composition((self.net(a, b),))


class _Half(nn.Module):
    """A network that takes the images at half of their size, rounded up."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, a: Tensor, b: Tensor) -> Composition:
        return self.net(*(F.avg_pool3d(image, 2, ceil_mode=True) for image in (a, b)))


def _two_steps(phi: nn.Module, psi: nn.Module, a: Tensor, b: Tensor) -> Composition:
    """Return the mapping of `phi`, then that of `psi` for the moving image warped by `phi`."""
    first = phi(a, b)
    second = psi(unit_cube.look_up(a, first.on_grid(a)), b)
    return Composition(first.fields + second.fields)


class _Two(nn.Module):
    """Two networks, one after the other."""

    def __init__(self, phi: nn.Module, psi: nn.Module) -> None:
        super().__init__()
        self.netPhi = phi
        self.netPsi = psi

    def forward(self, a: Tensor, b: Tensor) -> Composition:
        return _two_steps(self.netPhi, self.netPsi, a, b)


class UniGradICON(RegistrationNetwork):
    """The mapping of moving to fixed; 70,680,916 parameters.

    One call registers in one direction. The other direction is a call with the images exchanged;
    both at once are a batch of two. Images are expected in [0, 1]. Batch norm must stay in
    evaluation mode, also when the weights are optimised for a pair.

    Args:
        size: the cube's voxels, one number or one per axis; trained for 175.
        width: features of the U-Nets' finest level; the others are multiples of it.

    Raises:
        RegRefineError: the size is too small.
    """

    def __init__(self, size: int | Sequence[int] = 175, width: int = 16) -> None:
        super().__init__()
        sizes = (size,) * 3 if isinstance(size, int) else tuple(size)
        if len(sizes) != 3 or min(sizes) < SMALLEST:
            raise RegRefineError(
                f"unigradicon: size is one number or three, {SMALLEST} or more each, got {size}"
            )
        self.size: Sizes = sizes  # type: ignore[assignment]
        quarter = _Two(_Half(_Single(width)), _Single(width))
        self.netPhi = _Two(_Half(quarter), _Single(width))
        self.netPsi = _Single(width)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the width that a file's shapes reveal."""
        last = shapes.get("netPsi.net.lastConv.weight")
        return {"width": last[1] - 2} if last else {}

    @classmethod
    def options_for(cls, shape: Sizes) -> dict[str, Any]:
        """Return a cube of the training images' size, which need not be resampled then."""
        return {"size": [max(n, SMALLEST) for n in shape]}

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        still = self.squeezed(fixed)
        found = self.mapping(self.squeezed(moving), still).displacement(still)
        return resize(found, tuple(fixed.shape[2:]))  # type: ignore[arg-type]

    def squeezed(self, image: Tensor) -> Tensor:
        """Return `image` on the cube's grid; trilinear with the voxels' edges aligned."""
        if tuple(image.shape[2:]) == self.size:
            return image
        return F.interpolate(image, size=self.size, mode="trilinear", align_corners=False)

    def mapping(self, moving: Tensor, fixed: Tensor) -> Composition:
        """Return the mapping of the cube; images (N, 1, *size)."""
        return _two_steps(self.netPhi, self.netPsi, moving, fixed)

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` in voxels of the cube's grid, `warped` there, and the fields `u1` to `u4`.

        The four are in units of the unit cube, `u1` at a quarter of the size, `u2` at half.
        """
        moved, still = self.squeezed(moving), self.squeezed(fixed)
        mapping = self.mapping(moved, still)
        found = {f"u{k}": field for k, field in enumerate(mapping.fields, start=1)}
        found["flow"] = mapping.displacement(still)
        found["warped"] = unit_cube.look_up(moved, mapping.on_grid(still), padding="zeros")
        return found

    @classmethod
    def rename(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of a .trch file, or of the whole published module, as this network's."""
        return {
            name.removeprefix("regis_net."): value
            for name, value in state.items()
            if not name.endswith("identity_map") and "spacing" not in name
        }
