"""The fields of a network's first stages: FiRework's own, or a plain network's cascade."""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn

from ..ops.warp import compose, warp


def stages(network: nn.Module, moving: Tensor, fixed: Tensor, count: int) -> list[Tensor]:
    """Return the displacements (N, 3, D, H, W) in voxels after 1 to `count` stages.

    Of FiRework phi^1, phi^2, ...; of a plain network its cascade (the paper's eq. 1): phi^k is
    phi^{k-1} after what the network finds for the image that was interpolated before.
    """
    following = getattr(network, "following", None)
    if following is not None:
        return list(islice(following(moving, fixed), count))
    warped = moving
    found: list[Tensor] = []
    for _ in range(count):
        displacement = network(warped, fixed).float()
        warped = warp(warped, displacement)
        found.append(compose(found[-1], displacement) if found else displacement)
    return found
