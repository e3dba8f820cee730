"""Prepared training data: every file resampled to one grid, in one portable compressed file.

Two subjects of a pair are affinely aligned when a network registers them, so the pack can align all
files affinely to the first one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, Volume
from ..intensity import scaled
from ..io.paths import present, written_aside
from ..io.volumes import read_labels, read_volume
from ..job import Progress
from ..linear.search import align
from ..pair import Report, ignore
from ..resample import antialiased, downsampled, resample
from . import brain
from .datasets import Grid, ScanPairs, numbered
from .synthetic import Synthesis, SyntheticPairs

FORMAT = 1
KINDS = ("any", "brain")
ALIGNED_MM = 3.0  # voxels of the images that are aligned


@dataclass(frozen=True, eq=False)
class Pack:
    """What a pack holds.

    Attributes:
        labels: label maps (D, H, W) int16, numbered from 0.
        images: (D, H, W) each in [0, 1], one per map, or none: then images are painted.
        intensities: of the labels, 0..1, which Synthesis.natural paints; or none.
        preprocessing: see source.Source.
        about: the files' names, the labels' numbers in them.
    """

    labels: Sequence[Tensor]
    images: Sequence[Tensor] = ()
    intensities: Sequence[float] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid's sizes."""
        return tuple((*self.labels, *self.images)[0].shape)  # type: ignore[return-value]

    def part(self, first: int, end: int) -> Pack:
        """Return the pack of the files from `first` to before `end`."""
        labels, images = self.labels[first:end], self.images[first:end]
        return Pack(labels, images, self.intensities, self.preprocessing, self.about)

    def scans(self) -> ScanPairs:
        """Return pairs of the scans."""
        return ScanPairs(self.images, self.labels, self.preprocessing)

    def painted(self, synthesis: Synthesis) -> SyntheticPairs:
        """Return synthetic pairs of the label maps."""
        return SyntheticPairs(synthesis, self.labels, self.preprocessing, self.intensities)

    def save(self, path: str | Path) -> None:
        """Write the pack as a compressed .npz; images are rounded to float16."""
        more = {"format": FORMAT, "preprocessing": dict(self.preprocessing), **self.about}
        arrays: dict[str, Any] = {
            "labels": np.stack([m.numpy() for m in self.labels]) if self.labels else np.empty(0),
            "images": np.stack([m.numpy() for m in self.images]) if self.images else np.empty(0),
            "intensities": np.array(self.intensities, dtype=np.float32),
        }
        arrays["labels"] = arrays["labels"].astype(np.int16)
        arrays["images"] = arrays["images"].astype(np.float16)
        with written_aside(Path(path)) as aside, aside.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(more)), **arrays)

    @classmethod
    def read(cls, path: str | Path) -> Pack:
        """Return the pack of a file.

        Raises:
            RegRefineError: there is none, or it is not a pack of this format.
        """
        try:
            with np.load(present(path)) as archive:
                about = json.loads(str(archive["about"]))
                labels = [torch.from_numpy(m) for m in archive["labels"]]
                images = [torch.from_numpy(m.astype(np.float32)) for m in archive["images"]]
                intensities = tuple(float(v) for v in archive["intensities"])
            if about.pop("format") != FORMAT:
                raise KeyError("format")
            preprocessing = about.pop("preprocessing")
        except (OSError, ValueError, KeyError) as error:
            raise RegRefineError(
                f"{path}: is no pack of training data; make one with `regrefine pack`"
            ) from error
        return cls(labels, images, intensities, preprocessing, about)


@dataclass(frozen=True)
class Packing:
    """How a pack is made from files.

    Attributes:
        grid: that they are resampled to.
        kind: any, or brain: head label maps with FreeSurfer's numbers (brain.py).
        aligned: align all affinely to the first, by the images or painted maps.
        intensity: the images' range that becomes 0..1, one of job.INTENSITIES.
    """

    grid: Grid
    kind: str = "any"
    aligned: bool = False
    intensity: str = "minmax"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RegRefineError(f"kind: one of {', '.join(KINDS)}, got {self.kind!r}")


def pack(
    labels: Sequence[str | Path],
    images: Sequence[str | Path],
    how: Packing,
    report: Report = ignore,
) -> Pack:
    """Return the pack of label maps, of scans with or without them (one map per scan, in order).

    Raises:
        RegRefineError: no files, other numbers of them, unreadable ones; `aligned` of label maps
            alone that are not of the kind brain.
    """
    count = len(images) or len(labels)
    if not count or (images and labels and len(images) != len(labels)):
        raise RegRefineError(
            f"labels: one map per image in the same order, got {len(labels)} for {len(images)}"
        )
    if how.aligned and not images and how.kind != "brain":
        raise RegRefineError("pack: label maps alone are aligned as kind brain only")
    target: _Subject | None = None
    maps, scans = [], []
    for number in range(count):
        report(Progress("pack", number, count))
        subject = _Subject.read(labels[number:][:1], images[number:][:1], how)
        target = target or subject
        on, matrix = subject.placed(target, how)
        if subject.labels is not None:
            maps.append(resample(subject.labels, on, matrix, "nearest").array)
        if images:
            source = antialiased(subject.image, on, matrix)
            scans.append(torch.from_numpy(np.array(resample(source, on, matrix).array)))
    names, found = numbered(maps) if maps else ([], [])
    about = {"files": [Path(p).name for p in (images or labels)], "labels": names}
    known = brain.INTENSITIES if how.kind == "brain" else {}
    intensities = [known.get(name, 0.0) for name in names] if known else []
    preprocessing = how.grid.preprocessing(how.intensity)
    if known and not scans:  # the painted maps are what images must be like
        preprocessing["level"] = list(brain.LEVEL)
    return Pack(found, scans, intensities, preprocessing, about)


@dataclass(frozen=True, eq=False)
class _Subject:
    """A label map, and the image that it is aligned by."""

    image: Volume
    labels: Volume | None

    @classmethod
    def read(
        cls, labels: Sequence[str | Path], images: Sequence[str | Path], how: Packing
    ) -> _Subject:
        found = read_labels(labels[0]).volume if labels else None
        if found is not None and how.kind == "brain":
            found = brain.structures(found)
        if images:
            return cls(scaled(read_volume(images[0]), how.intensity), found)
        if found is None:
            raise ValueError("a subject is an image, a label map, or both")
        return cls(brain.painted(found) if how.kind == "brain" else found, found)

    def placed(self, target: _Subject, how: Packing) -> tuple[Geometry, FloatArray]:
        """Return the grid, and the 4x4 from its RAS mm to the subject's own."""
        if not how.aligned or self is target:
            return how.grid.around(self.image), np.eye(4)
        still, moved = (downsampled(each.image, ALIGNED_MM) for each in (target, self))
        matrix = align(still, moved, "centre+affine", intensity="none")
        return how.grid.around(target.image), matrix
