"""uniGradICON and multiGradICON (Tian et al., MICCAI 2024; Demir et al., WBIR 2024).

One architecture, two sets of weights. Four U-Nets, the first at a quarter of the size, the second
at half of it, each looking at what those before have left; the mapping is their composition
x -> u1(u2(u3(u4(x)))) (u meaning x + u(x)) in a unit cube with a voxel's centre in each corner.
The published program is trained for 175^3 voxels, whatever the image's own proportions; here the
images are squeezed into that cube and the displacement comes back in voxels of the images' grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RegRefineError
from ..ops.warp import identity, resize, sample
from .blocks.icon_unet import TallUNet2

Shape = tuple[int, int, int]
SMALLEST = 65  # a quarter of it, rounded up, can be halved five times


def _last_voxel(image: Tensor) -> Tensor:
    """Return the index of the last voxel per axis (1, 3, 1, 1, 1): the cube's far corner."""
    return image.new_tensor([n - 1 for n in image.shape[2:]]).view(1, 3, 1, 1, 1)


def look_up(image: Tensor, points: Tensor, padding: str = "border") -> Tensor:
    """Return `image` (N, C, D, H, W) at `points` (N, 3, d, h, w) of the unit cube."""
    return sample(image, points * _last_voxel(image), padding=padding)


def cube(image: Tensor) -> Tensor:
    """Return the unit cube's points (1, 3, D, H, W) at the voxels of `image`."""
    return identity(tuple(image.shape[2:]), image) / _last_voxel(image)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Mapping:
    """x -> x + u_n(x), then the one before, to x + u_1(x); fields (N, 3, ...) in the unit cube."""

    fields: tuple[Tensor, ...]

    def __call__(self, points: Tensor) -> Tensor:
        """Return where `points` (N, 3, d, h, w) of the fixed cube lie in the moving cube."""
        return points + self.offset(points)

    def offset(self, points: Tensor) -> Tensor:
        """Return how far `points` move; summed apart from the points, so that less is rounded."""
        total = torch.zeros_like(points)
        for field in reversed(self.fields):
            total = total + look_up(field, points + total)
        return total

    def on_grid(self, image: Tensor) -> Tensor:
        """Return where the voxels of `image` lie; a field of that size is not interpolated."""
        return cube(image) + self._offset_on_grid(image)

    def _offset_on_grid(self, image: Tensor) -> Tensor:
        last = self.fields[-1]
        if last.shape[2:] != image.shape[2:]:
            return self.offset(cube(image).expand(len(last), -1, -1, -1, -1))
        return last + Mapping(self.fields[:-1]).offset(cube(image) + last)

    def displacement(self, image: Tensor) -> Tensor:
        """Return how far the voxels of `image` move, (N, 3, D, H, W) in its voxels."""
        return self._offset_on_grid(image) * _last_voxel(image)


class _Single(nn.Module):
    """One U-Net's displacement."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TallUNet2()

    def forward(self, a: Tensor, b: Tensor) -> Mapping:
        return Mapping((self.net(a, b),))


class _Half(nn.Module):
    """A network that sees the images at half of their size, rounded up."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, a: Tensor, b: Tensor) -> Mapping:
        return self.net(*(F.avg_pool3d(image, 2, ceil_mode=True) for image in (a, b)))


def _two_steps(phi: nn.Module, psi: nn.Module, a: Tensor, b: Tensor) -> Mapping:
    """Return what `phi` finds and then what `psi` finds with the moving image as `phi` left it."""
    first = phi(a, b)
    second = psi(look_up(a, first.on_grid(a)), b)
    return Mapping(first.fields + second.fields)


class _Two(nn.Module):
    """Two networks, one after the other."""

    def __init__(self, phi: nn.Module, psi: nn.Module) -> None:
        super().__init__()
        self.netPhi = phi
        self.netPsi = psi

    def forward(self, a: Tensor, b: Tensor) -> Mapping:
        return _two_steps(self.netPhi, self.netPsi, a, b)


class UniGradICON(nn.Module):
    """The mapping of moving to fixed; 70,680,916 parameters.

    One call finds one direction. The other is a call with the images exchanged; both at once are a
    batch of two. Images are expected in [0, 1]. Batch norm must stay in evaluation mode, also when
    the weights are optimised for a pair.

    Args:
        size: the cube's voxels, one number or one per axis; trained for 175.

    Raises:
        RegRefineError: the size is too small.
    """

    stride = 1

    def __init__(self, size: int | Sequence[int] = 175) -> None:
        super().__init__()
        sizes = (size,) * 3 if isinstance(size, int) else tuple(size)
        if len(sizes) != 3 or min(sizes) < SMALLEST:
            raise RegRefineError(
                f"unigradicon: size is one number or three, {SMALLEST} or more each, got {size}"
            )
        self.size: Shape = sizes  # type: ignore[assignment]
        quarter = _Two(_Half(_Single()), _Single())
        self.netPhi = _Two(_Half(quarter), _Single())
        self.netPsi = _Single()

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

    def mapping(self, moving: Tensor, fixed: Tensor) -> Mapping:
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
        found["warped"] = look_up(moved, mapping.on_grid(still), padding="zeros")
        return found

    @staticmethod
    def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of a .trch file, or of the whole published module, as this network's."""
        return {
            name.removeprefix("regis_net."): value
            for name, value in state.items()
            if not name.endswith("identity_map") and "spacing" not in name
        }
