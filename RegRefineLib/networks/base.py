"""The interface of a registration network: all that the rest of the library relies on.

A network is a class of its own file that derives from `RegistrationNetwork`, takes its options as
keywords with defaults, and implements `forward`; a row in registry.NETWORKS makes it known. Every
other member has a default that fits a plain network and is overridden where a network differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..ops import unit_cube
from ..ops.warp import compose, warp

Sizes = tuple[int, int, int]
Shapes = Mapping[str, tuple[int, ...]]  # of the tensors in a file, by name


class Transformation(Protocol):
    """A mapping of the fixed image's unit cube into the moving one's, also between the voxels."""

    def displacement(self, image: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) at the voxels of `image`, in its voxels."""
        ...

    def offset(self, points: Tensor) -> Tensor:
        """Return how far points (N, 3, d, h, w) of the unit cube move, in unit cubes."""
        ...


@dataclass(frozen=True, eq=False)
class GridTransformation:
    """A displacement (N, 3, D, H, W) in voxels, linear between the voxels."""

    field: Tensor

    def displacement(self, image: Tensor) -> Tensor:
        """Return the field; `image` is on its grid."""
        return self.field

    def offset(self, points: Tensor) -> Tensor:
        """Return how far points (N, 3, d, h, w) of the unit cube move, in unit cubes."""
        return unit_cube.offset(self.field, points)


class RegistrationNetwork(nn.Module):
    """A network that predicts the displacement between two images.

    Images are (N, 1, D, H, W). Displacements are (N, 3, D, H, W) in voxels, component c along
    array axis c: the fixed voxel x corresponds to the moving position x + u(x).

    Attributes:
        stride: the image sizes must be multiples of it, one number or one per axis.
        minimum: the smallest image sizes, likewise.
        spacing_mm: voxel size that the architecture is made for, used where the weights state
            none; None: any.
        recursive: the network takes a displacement and corrects it, so that `following` can
            continue from any start; False: its input is the two images alone.
        half_resolution: `flow_of` ends at half of the images' resolution.
    """

    stride: int | Sizes = 1
    minimum: int | Sizes = 1
    spacing_mm: ClassVar[float | None] = None
    recursive: ClassVar[bool] = False
    half_resolution: bool = False

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        raise NotImplementedError

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow`, `warped` and the intermediate results that the published program has."""
        flow = self(moving, fixed)
        return {"flow": flow, "warped": warp(moving, flow)}

    def flow_of(self, channels: Tensor) -> Tensor:
        """Return the flow (N, 3, D, H, W) for an input of other channels than the two images.

        Networks that FiRework can wrap have it.
        """
        raise NotImplementedError(f"{type(self).__name__} takes two images and nothing else")

    # --- image sizes -----------------------------------------------------------------------------

    def fitting(self, shape: Sizes) -> Sizes:
        """Return the smallest sizes (D, H, W), none below `shape`, that the network takes."""
        axes = zip(shape, _per_axis(self.stride), _per_axis(self.minimum), strict=True)
        d, h, w = (-(-max(n, least) // step) * step for n, step, least in axes)
        return d, h, w

    def squeezed(self, image: Tensor) -> Tensor:
        """Return an image on the grid where the network's own loss is measured."""
        return image

    @classmethod
    def options_for(cls, shape: Sizes) -> dict[str, Any]:
        """Return the constructor options that training on images of `shape` requires."""
        return {}

    # --- several steps ---------------------------------------------------------------------------

    def following(
        self, moving: Tensor, fixed: Tensor, start: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield the displacements after 1, 2, ... stages, without end.

        A plain network is cascaded (FiRework, arXiv 2410.09595, eq. 1): each stage registers the
        image that the stages before have warped, which is interpolated anew every time.

        Args:
            start: the displacement to continue from, in voxels; None: none.
        """
        warped = moving if start is None else warp(moving, start)
        total = start
        while True:
            displacement = self(warped, fixed).float()
            warped = warp(warped, displacement)
            total = displacement if total is None else compose(total, displacement)
            yield total

    def stages(self, moving: Tensor, fixed: Tensor, count: int) -> list[Tensor]:
        """Return the first `count` displacements of `following`."""
        return list(islice(self.following(moving, fixed), count))

    def mapping(self, moving: Tensor, fixed: Tensor) -> Transformation:
        """Return the network's result as a mapping, on the grid of `squeezed` images."""
        return GridTransformation(self(moving, fixed))

    # --- weights ---------------------------------------------------------------------------------

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor options that the tensors of a file reveal.

        Args:
            shapes: of the file's tensors under this network's names.
            config: the constructor arguments that the file states, by the published names.
        """
        return {}

    @classmethod
    def rename(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a published state under this network's names."""
        return dict(state)

    def begin_with(self, given: RegistrationNetwork) -> None:
        """Start training from the weights of another network of the same kind.

        Raises:
            RuntimeError: it is of another kind, or has other options.
        """
        self.load_state_dict(given.state_dict())


class TracingNetwork(RegistrationNetwork):
    """A network whose one pass finds `flow` and, by name, the fields of its levels.

    It implements `found`, and says there which names there are.
    """

    def found(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return `flow` and the intermediate results of images (N, 1, D, H, W)."""
        raise NotImplementedError

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        return self.found(moving, fixed)["flow"]

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return what `found` does, and `warped`."""
        found = self.found(moving, fixed)
        return {**found, "warped": warp(moving, found["flow"])}


def _per_axis(value: int | Sizes) -> Sizes:
    return (value, value, value) if isinstance(value, int) else value


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context to call a network in: bfloat16 or float32 for its convolutions.

    Positions and displacements stay in float32 either way. In float32 nothing is entered, because
    not every device has autocast.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
