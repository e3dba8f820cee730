"""Training pairs made of label maps, of any anatomy and contrast (Hoffmann et al., SynthMorph).

A label map, given or of random shapes, is deformed twice by large smooth diffeomorphisms; each of
the two is painted: an intensity per label, texture, limited resolution, blur, bias field, gamma and
noise. No scan is used, so weights trained on random shapes are free of third-party data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import RegRefineError
from ..ops.warp import compose, identity, integrate, resize, warp
from .painting import Paint, Shape, image, smooth_noise
from .source import Draw, Sample


def check_shape(shape: Shape) -> None:
    """Raise RegRefineError for sizes that no pair can have."""
    if len(shape) != 3 or min(shape) < 8:
        raise RegRefineError(f"shape: three sizes from 8 voxels on, got {shape!r}")


@dataclass(frozen=True)
class Synthesis:
    """What the pairs are like. Lengths are in voxels or, where it says so, in parts of a side.

    Attributes:
        shape: sizes (D, H, W) of the images.
        labels: of random shapes, background included; given maps have their own.
        fineness: how many of the smallest random shapes fit along a side; others are 2 and 4 times
            as large.
        bend: deviation of the largest deformations, in parts of the mean side.
        same_contrast: probability that both images are painted alike (1 if the loss is a
            correlation; less needs the Dice loss).
        natural: probability that the labels have about the intensities that came with the maps.
        across: probability that the two images come from two of the given maps instead of one.
        linear: deviation of a random affine map, in parts of the mean side, that both images share.
        body: probability that random shapes lie within an ellipsoid, with nothing around it.
        empty: probability that the background is black, as in a stripped brain.
        texture: deviation of the smooth structure within labels, which both images share where they
            come from one map.
        noise, bias, gamma: largest deviations of noise, of the log bias field, of the log gamma.
        blur: largest deviation of the blur, in voxels.
        thickness: largest slice thickness, in voxels.
        seed: of everything.
    """

    shape: Shape = (96, 96, 96)
    labels: int = 16
    fineness: float = 12.0
    bend: float = 0.05
    same_contrast: float = 1.0
    natural: float = 0.0
    across: float = 0.0
    linear: float = 0.0
    body: float = 0.5
    empty: float = 0.5
    texture: float = 0.1
    noise: float = 0.05
    bias: float = 0.3
    gamma: float = 0.25
    blur: float = 1.0
    thickness: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.labels < 2:
            raise RegRefineError(f"labels: 2 at least, background included, got {self.labels}")
        if self.fineness < 1:
            raise RegRefineError(f"fineness: 1 or more, got {self.fineness!r}")
        if min(self.bend, self.noise, self.bias, self.gamma, self.blur, self.texture) < 0:
            raise RegRefineError("bend, noise, bias, gamma, blur, texture: none can be negative")


class SyntheticPairs:
    """A source of synthetic pairs.

    Args:
        synthesis: what they are like.
        maps: label maps (D, H, W) of the synthesis's shape, whole numbers from 0; none: random
            shapes, new ones for every pair.
        preprocessing: what the maps' grid requires of images (see source.Source).
        intensities: 0..1 per label number, which `natural` paints.

    Raises:
        RegRefineError: a map of another shape, `across` with fewer than two maps, or `natural`
            without intensities.
    """

    def __init__(
        self,
        synthesis: Synthesis,
        maps: Sequence[Tensor] = (),
        preprocessing: Mapping[str, Any] | None = None,
        intensities: Sequence[float] = (),
    ) -> None:
        for labels in maps:
            if tuple(labels.shape) != tuple(synthesis.shape):
                raise RegRefineError(
                    f"label map: {tuple(labels.shape)} voxels where the pairs have "
                    f"{tuple(synthesis.shape)}; resample it, or give shape its sizes"
                )
        if synthesis.across and len(maps) < 2:
            raise RegRefineError(f"across: needs two label maps or more, got {len(maps)}")
        if synthesis.natural and not intensities:
            raise RegRefineError("natural: the label maps come without intensities; set it to 0")
        self.synthesis, self.maps = synthesis, list(maps)
        self.intensities = torch.tensor([float(value) for value in intensities])
        self.preprocessing = dict(preprocessing or {})
        counts = [int(labels.max()) + 1 for labels in maps]
        self.count = max(counts, default=synthesis.labels)

    def sample(self, number: int, device: torch.device) -> Sample:
        """Return the pair of that number; it depends on the seed and the number alone."""
        wanted = self.synthesis
        draw = Draw(wanted.seed, number, device)
        first, second = self._anatomies(draw)
        texture = smooth_noise(draw, 1, wanted.shape, draw.uniform(3, 8))
        if first is not second:
            texture = torch.zeros_like(texture)
        alike = draw.chance(wanted.same_contrast)
        empty = draw.chance(wanted.empty)
        paint = self._paint(draw, empty)
        shared = linear_map(draw, wanted.shape, wanted.linear)
        painted, velocities = [], []
        for labels in (first, second):
            velocities.append(random_velocity(draw, wanted.shape, wanted.bend))
            own = flowed(velocities[-1], wanted.shape)
            displacement = own + (warp(shared, own, padding="border") if wanted.linear else 0)
            there = warp(labels, displacement, mode="nearest", padding="border")
            structure = warp(texture, displacement, padding="border")
            shown = image(draw, there, structure, paint, wanted)
            painted.append((shown * (there > 0) if empty else shown, there.long()))
            if not alike:
                paint = self._paint(draw, empty)
        (moving, moving_labels), (fixed, fixed_labels) = painted
        truth = None
        if first is second:  # back from the moving image to the map, after on to the fixed one
            truth = compose(flowed(-velocities[0], wanted.shape), own)
        return Sample(moving, fixed, moving_labels, fixed_labels, truth)

    def fingerprint(self) -> str:
        """Return the settings and the maps as a line."""
        digest = hashlib.sha256(json.dumps(asdict(self.synthesis), sort_keys=True).encode())
        digest.update(self.intensities.numpy().tobytes())
        for labels in self.maps:
            digest.update(labels.cpu().long().numpy().tobytes())
        what = f"{len(self.maps)} label maps" if self.maps else "random shapes"
        return f"synthetic pairs of {what}, {digest.hexdigest()[:16]}"

    def _paint(self, draw: Draw, empty: bool) -> Paint:
        if draw.chance(self.synthesis.natural):
            return Paint.about(draw, self.intensities, self.synthesis.texture, empty)
        return Paint.mixed(draw, self.count, self.synthesis.texture, empty)

    def _anatomies(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return the label maps (1, 1, D, H, W) that become the moving and the fixed image."""
        if not self.maps:
            wanted = self.synthesis
            shapes = random_shapes(draw, wanted.shape, wanted.labels, wanted.fineness)
            if draw.chance(wanted.body):
                shapes = shapes * ellipsoid(draw, wanted.shape)
            return shapes, shapes
        one = draw.choice(len(self.maps))
        other = one
        if draw.chance(self.synthesis.across):
            other = (one + 1 + draw.choice(len(self.maps) - 1)) % len(self.maps)
        first = second = self.maps[one].to(draw.device).float()[None, None]
        if other != one:
            second = self.maps[other].to(draw.device).float()[None, None]
        return first, second


def random_shapes(draw: Draw, shape: Shape, labels: int, fineness: float = 12.0) -> Tensor:
    """Return a label map (1, 1, D, H, W) of shapes of all sizes: the argmax of noise channels."""
    spacing = sum(shape) / 3 / fineness
    noise = sum(smooth_noise(draw, labels, shape, spacing * size) for size in (4, 2, 1))
    return noise.argmax(dim=1, keepdim=True).float()  # type: ignore[union-attr]


def ellipsoid(draw: Draw, shape: Shape) -> Tensor:
    """Return a mask (1, 1, D, H, W) of 1 within an uneven ellipsoid about the middle."""
    axes = [torch.linspace(-1, 1, n, device=draw.device) / draw.uniform(0.6, 0.95) for n in shape]
    radius = sum(a.square() for a in torch.meshgrid(*axes, indexing="ij"))
    uneven = 0.15 * smooth_noise(draw, 1, shape, sum(shape) / 3 / 4)
    return ((radius + uneven) < 1).float()  # type: ignore[return-value, union-attr]


def random_velocity(draw: Draw, shape: Shape, bend: float) -> Tensor:
    """Return a random velocity (1, 3, d, h, w) of broad and of finer waves, at half resolution.

    Args:
        bend: deviation of the broadest waves' velocity, in parts of the mean side; how much of it
            there is in each pair is random.
    """
    half: Shape = tuple(-(-n // 2) for n in shape)  # type: ignore[assignment]
    side = sum(half) / 3
    velocity = torch.zeros(1, 3, *half, device=draw.device)
    for parts in (2, 4, 8):
        largest = bend * side * 2 / parts  # the finer, the smaller: gradients stay alike
        velocity += draw.uniform(0, largest) * smooth_noise(draw, 3, half, side / parts)
    return velocity


def flowed(velocity: Tensor, shape: Shape) -> Tensor:
    """Return the displacement (1, 3, D, H, W) in voxels, without folds, of a velocity."""
    return resize(integrate(velocity, padding="border"), shape)


def linear_map(draw: Draw, shape: Shape, size: float) -> Tensor:
    """Return the displacement (1, 3, D, H, W) in voxels of a random affine map about the middle.

    Args:
        size: deviation of the matrix's entries from the identity's, and of a shift in parts of the
            mean side.
    """
    points = identity(shape, torch.zeros((), device=draw.device))
    middle = (torch.tensor(shape, device=draw.device) - 1) / 2
    matrix, shift = size * draw.normal(3, 3), size * sum(shape) / 3 * draw.normal(3)
    moved = torch.einsum("ab,nbdhw->nadhw", matrix, points - middle.view(1, 3, 1, 1, 1))
    return moved + shift.view(1, 3, 1, 1, 1)
