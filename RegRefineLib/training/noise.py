"""Training pairs of smooth noise: structure everywhere, and the displacement known exactly.

Networks are trained on these first to learn motion. Painted shapes and scans carry no information
within uniform regions and little per step: on them a plain U-Net makes no progress for thousands of
steps, whereas on these it explains a third of a displacement after a thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import RegRefineError
from ..ops.warp import warp
from .painting import Shape, smooth_noise
from .source import Draw, Sample
from .synthetic import check_shape

WAVES_VOXELS = (8.0, 4.0, 2.5)  # spacing of the noise that an image is the sum of
STEEPEST = 0.2  # displacement over the length in which it changes; folds are rare


@dataclass(frozen=True)
class Noise:
    """What the pairs are like. Lengths are in voxels.

    Attributes:
        shape: sizes (D, H, W) of the images.
        largest: deviation of the largest displacements; each pair has its own, down to a third.
        shortest, longest: between these a displacement changes; longest: in parts of the mean side.
        noise, bias: largest deviations of the noise and of the log bias field, each image's own.
        seed: of everything.
    """

    shape: Shape = (32, 32, 32)
    largest: float = 3.0
    shortest: float = 6.0
    longest: float = 0.6
    noise: float = 0.02
    bias: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.largest > sum(self.shape) / 6:
            raise RegRefineError("pairs of noise: largest is half of the mean side at most")
        if min(self.largest, self.shortest, self.longest) <= 0 or min(self.noise, self.bias) < 0:
            raise RegRefineError(
                "pairs of noise: largest, shortest and longest are positive, noise and bias not "
                "negative"
            )


class NoisePairs:
    """A source of pairs of smooth noise.

    Args:
        wanted: what they are like.
        preprocessing: what the network will require of images (see source.Source).
    """

    def __init__(self, wanted: Noise, preprocessing: Mapping[str, Any] | None = None) -> None:
        self.wanted = wanted
        self.preprocessing = dict(preprocessing or {})

    def sample(self, number: int, device: torch.device) -> Sample:
        """Return the pair of that number; it depends on the seed and the number alone."""
        wanted = self.wanted
        draw = Draw(wanted.seed, number, device)
        margin = round(2 * wanted.largest) + 1  # structure comes in from beyond the image
        whole: Shape = tuple(n + 2 * margin for n in wanted.shape)  # type: ignore[assignment]
        moving = torch.zeros(1, 1, *whole, device=device)
        for spacing in WAVES_VOXELS:
            moving += draw.uniform(0.5, 1.5) * smooth_noise(draw, 1, whole, spacing)
        displacement = self._displacement(draw, whole)
        fixed = warp(moving, displacement, padding="border")
        low, high = moving.amin(), moving.amax()
        images = [
            self._seen(draw, (_cropped(image, margin) - low) / (high - low))
            for image in (moving, fixed)
        ]
        return Sample(images[0], images[1], displacement=_cropped(displacement, margin))

    def fingerprint(self) -> str:
        """Return the settings as a line."""
        digest = hashlib.sha256(json.dumps(asdict(self.wanted), sort_keys=True).encode())
        return f"synthetic pairs of smooth noise, {digest.hexdigest()[:16]}"

    def _displacement(self, draw: Draw, whole: Shape) -> Tensor:
        wanted = self.wanted
        longest = max(wanted.shortest, wanted.longest * sum(wanted.shape) / 3)
        length = draw.uniform(wanted.shortest, longest)
        size = draw.uniform(0.3, 1.0) * min(wanted.largest, STEEPEST * length)
        return size * smooth_noise(draw, 3, whole, length)

    def _seen(self, draw: Draw, image: Tensor) -> Tensor:
        """Return the image in [0, 1] under a bias field and noise of its own."""
        wanted = self.wanted
        shape: Shape = tuple(image.shape[2:])  # type: ignore[assignment]
        field = smooth_noise(draw, 1, shape, sum(shape) / 3)
        image = image * (draw.uniform(0, wanted.bias) * field).exp()
        image = image + draw.uniform(0, wanted.noise) * draw.normal(*image.shape)
        return image.clamp(0, 1)


def _cropped(image: Tensor, margin: int) -> Tensor:
    kept = slice(margin, -margin)
    return image[..., kept, kept, kept].contiguous()
