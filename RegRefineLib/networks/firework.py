"""FiRework (arXiv 2410.09595): a network that takes its last field and subtracts its error.

    phi^{k+1} = phi^k - R(I_f, I_m, I_m o phi^k, phi^k),    phi^0 = 0

R is VoxelMorph or TransMorph with six input channels instead of two: fixed, moving, moving through
the last field, and the field in voxels. The same weights serve every step. The moving image that
is warped is always the original, so it is interpolated once however many steps there are. The
paper published neither program nor weights; the order of the channels is that of its equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..errors import RegRefineError
from ..ops.warp import warp
from .base import RegistrationNetwork, Shapes, Sizes
from .blocks.velocity import in_full, rescale
from .transmorph import TransMorph
from .voxelmorph import DECODER, ENCODER, VoxelMorph

CHANNELS = 6
PREFIX = "network."
_FIRST = "unet_model.encoder.0.0.main.weight"


class _FiRework(RegistrationNetwork):
    """The recursion around a network of six channels."""

    recursive = True

    def __init__(self, network: VoxelMorph | TransMorph, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise RegRefineError(f"firework: steps is at least 1, got {steps}")
        self.network, self.steps = network, steps
        self.stride = network.stride

    def error(self, moving: Tensor, fixed: Tensor, field: Tensor | None) -> Tensor:
        """Return R: the error (N, 3, D, H, W) in voxels that the network estimates in a field.

        Args:
            field: the last displacement, or None for the zero field.
        """
        if field is None:
            warped, field = moving, torch.zeros_like(moving).repeat(1, 3, 1, 1, 1)
        else:
            warped = warp(moving, field)
        flow = in_full(self.network.flow_of(torch.cat([fixed, moving, warped, field], dim=1)))
        return rescale(flow, 2) if self.network.half_resolution else flow

    def following(
        self, moving: Tensor, fixed: Tensor, start: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield phi^1, phi^2, ... (N, 3, D, H, W) in voxels, without end.

        Args:
            moving, fixed: images (N, 1, D, H, W).
            start: phi^0 in voxels, whatever found it; None is the zero field.
        """
        field = start
        while True:
            error = self.error(moving, fixed, field)
            field = -error if field is None else field - error
            yield field

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement phi^steps (N, 3, D, H, W) in voxels of images (N, 1, D, H, W)."""
        *_, last = islice(self.following(moving, fixed), self.steps)
        return last


def _within(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes under the names that the network inside gives them."""
    return {n.removeprefix(PREFIX): shape for n, shape in shapes.items() if n.startswith(PREFIX)}


class FiReworkVM(_FiRework):
    """FiRework around the classic VoxelMorph; 329,059 parameters, 1,728 more than plain.

    Args:
        steps: n, the calls of the network; the paper takes 8 (LPBA) and 5 (Mindboggle).
        encoder, decoder: features, as VoxelMorph's.
        half_resolution: find the field at half resolution, for a quarter of the work (not in the
            paper).
    """

    def __init__(
        self,
        steps: int = 5,
        encoder: Sequence[int] = ENCODER,
        decoder: Sequence[int] = DECODER,
        half_resolution: bool = False,
    ) -> None:
        network = VoxelMorph(encoder, decoder, half_resolution=half_resolution, channels=CHANNELS)
        super().__init__(network, steps)

    @torch.no_grad()
    def begin_with(self, given: RegistrationNetwork) -> None:
        """Start training from FiRework's weights, or from those of a plain VoxelMorph.

        With a plain network's, phi^{k+1} = phi^k + VM(I_m o phi^k, I_f) at first: the original
        moving image and the field, which it does not take, have weights of zero until training
        finds a use for them.

        Raises:
            RegRefineError: the plain network integrates a velocity.
            RuntimeError: the network has other features.
        """
        if not isinstance(given, VoxelMorph):
            super().begin_with(given)
            return
        if given.int_steps:
            raise RegRefineError(
                "begin_with: the plain network integrates a velocity, but FiRework adds up "
                "displacements; give weights of a voxelmorph with int_steps=0"
            )
        state = given.state_dict()
        moving, fixed = state[_FIRST].unbind(dim=1)
        unseen = torch.zeros_like(fixed)
        state[_FIRST] = torch.stack([fixed, unseen, moving, unseen, unseen, unseen], dim=1)
        for name in ("flow.weight", "flow.bias"):  # what is found is subtracted
            state[name] = -state[name]
        self.network.load_state_dict(state)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features that a file's shapes show."""
        return VoxelMorph.infer(_within(shapes), {})


class FiReworkTM(_FiRework):
    """FiRework around TransMorph; 46,802,739 parameters as "base", 31,488 more than plain.

    Args:
        steps: n, the calls of the network.
        size: tiny, small, base or large.
        window, drop_path: as TransMorph's.
    """

    def __init__(
        self,
        steps: int = 5,
        size: str = "base",
        window: Sequence[int] = (5, 6, 7),
        drop_path: float = 0.3,
    ) -> None:
        super().__init__(TransMorph(size, window, drop_path=drop_path, channels=CHANNELS), steps)

    @classmethod
    def options_for(cls, shape: Sizes) -> dict[str, Any]:
        """Return TransMorph's window for training images of `shape`."""
        return TransMorph.options_for(shape)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return size and window, where a file's shapes show them."""
        found = TransMorph.infer(_within(shapes), {})
        return {name: found[name] for name in ("size", "window") if name in found}
