"""The grid to which files are resampled for training, and pairs of scans on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, Volume
from .source import Draw, Sample

Shape = tuple[int, int, int]
ORIENTATION = "SAR"  # where the axes of an array on a grid without directions point


@dataclass(frozen=True)
class Grid:
    """The grid to which every file of a training is resampled: cubic voxels, axes S, A, R.

    Its centre is the centre of the non-zero region of the file.
    """

    shape: Shape
    spacing_mm: float

    def __post_init__(self) -> None:
        if not 0 < self.spacing_mm < 1e3:
            raise RegRefineError(f"spacing: millimetres are needed, got {self.spacing_mm!r}")

    def around(self, volume: Volume) -> Geometry:
        """Return the grid for one volume."""
        spacing = [self.spacing_mm] * 3
        at_origin = Geometry.from_parts(self.shape, spacing, np.eye(3), [0.0, 0.0, 0.0])
        return Geometry.from_parts(
            self.shape, spacing, np.eye(3), _middle(volume) - at_origin.centre
        )

    def preprocessing(self, intensity: str = "minmax") -> dict[str, Any]:
        """Return the preprocessing for a network trained on this grid."""
        return {
            "orientation": ORIENTATION,
            "spacing_mm": self.spacing_mm,
            "intensity": [intensity],
        }


def squeezed(shape: Shape) -> dict[str, Any]:
    """Return the preprocessing for a network trained on shapes without a size in mm."""
    return {"shape": list(shape), "intensity": ["minmax", "percentile", "ct"]}


def _middle(volume: Volume) -> FloatArray:
    """Return the centre (RAS mm) of the non-zero voxels' bounding box; the grid's if all are 0."""
    ends = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(volume.array.any(axis=others))
        first, last = filled[[0, -1]] if len(filled) else (0, volume.array.shape[axis] - 1)
        ends.append((first + last) / 2)
    i_j_k = np.array([*ends[::-1], 1.0])
    return (volume.geometry.affine @ i_j_k)[:3]


def numbered(maps: Sequence[np.ndarray]) -> tuple[list[int], list[Tensor]]:
    """Return the maps' values, 0 first, and the maps (int16) with their places in that list."""
    values = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    names = [0, *(int(v) for v in values if v != 0)]
    places = np.argsort(names)
    return names, [
        torch.from_numpy(places[np.searchsorted(names, labels, sorter=places)].astype(np.int16))
        for labels in maps
    ]


@dataclass(frozen=True, eq=False)
class ScanPairs:
    """A source of pairs of scans: any two of them, in either order.

    Attributes:
        images: (D, H, W) each, in [0, 1], on one grid.
        labels: their label maps (see `numbered`), or none.
        preprocessing: see source.Source.
        seed: of the order.
    """

    images: Sequence[Tensor]
    labels: Sequence[Tensor] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.images) < 2:
            raise RegRefineError(f"images: two scans at least make pairs, got {len(self.images)}")
        if self.labels and len(self.labels) != len(self.images):
            raise RegRefineError(
                f"labels: one map per image in the same order, got {len(self.labels)} for "
                f"{len(self.images)}"
            )

    def sample(self, number: int, device: torch.device) -> Sample:
        """Return the pair of that number."""
        draw = Draw(self.seed, number)
        one = draw.choice(len(self.images))
        other = (one + 1 + draw.choice(len(self.images) - 1)) % len(self.images)

        def batch(volumes: Sequence[Tensor], index: int) -> Tensor:
            return volumes[index][None, None].to(device)

        moving, fixed = batch(self.images, one), batch(self.images, other)
        if not self.labels:
            return Sample(moving, fixed)
        maps = (batch(self.labels, index).long() for index in (one, other))
        return Sample(moving, fixed, *maps)

    def part(self, first: int, end: int) -> ScanPairs:
        """Return the pairs of the scans from `first` to before `end`."""
        return replace(self, images=self.images[first:end], labels=self.labels[first:end])

    def fingerprint(self) -> str:
        """Return the scans and their labels as a line."""
        digest = hashlib.sha256(str(self.seed).encode())
        for volume in (*self.images, *self.labels):
            digest.update(volume.cpu().contiguous().numpy().tobytes())
        return f"pairs of {len(self.images)} scans, {digest.hexdigest()[:16]}"
