"""Sources of training pairs: a source returns the pair of any step, always the same one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """A training pair: images (1, 1, D, H, W) in [0, 1], and label maps likewise where there are.

    Labels are whole numbers from 0 (background); the same number is the same structure in both.
    The displacement (1, 3, D, H, W) in voxels is the true one, where the pair was made with it.
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None = None
    fixed_labels: Tensor | None = None
    displacement: Tensor | None = None


def sizes_of(sample: Sample) -> tuple[int, int, int]:
    """Return the image sizes (D, H, W) of a pair."""
    d, h, w = sample.fixed.shape[2:]
    return d, h, w


class Source(Protocol):
    """What the loop trains on.

    Attributes:
        preprocessing: what a network trained on these pairs requires (the values of
            catalogue.Preprocessing that are not its defaults); written into the weights.
    """

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """See above."""
        ...

    def sample(self, number: int, device: torch.device) -> Sample:
        """Return the pair of that number, independent of earlier calls."""
        ...

    def fingerprint(self) -> str:
        """Return a line that changes whenever the pairs change."""
        ...


class Draw:
    """Random numbers that depend only on a seed and a number, not on earlier draws.

    Single numbers come from the CPU; volumes are made where they are used, so that they are the
    same from run to run on one kind of device, and other ones on another kind.
    """

    def __init__(self, seed: int, number: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.random = random.Random(f"{seed}/{number}")
        self.generator = torch.Generator(self.device).manual_seed(self.random.getrandbits(63))

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two."""
        return self.random.uniform(low, high)

    def chance(self, probability: float) -> bool:
        """Return True that often."""
        return self.random.random() < probability

    def choice(self, count: int) -> int:
        """Return a whole number from 0 to count - 1."""
        return self.random.randrange(count)

    def normal(self, *shape: int) -> Tensor:
        """Return normal noise of mean 0 and deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniforms(self, *shape: int) -> Tensor:
        """Return numbers between 0 and 1."""
        return torch.rand(shape, generator=self.generator, device=self.device)
