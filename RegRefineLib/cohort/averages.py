"""Averages of images on one grid: mean, median, trimmed mean, slab by slab; sharpening; measures.

Each image is divided by its own mean first, so that one bright scan does not outweigh the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, Volume

STATISTICS = ("mean", "median", "trimmed")
_TRIMMED = 0.1  # of the scans, left away at each end
_SLAB_BYTES = 256 * 2**20


def normalised(volume: Volume) -> Volume:
    """Return the image divided by its mean; as it is where it has values below 0 (CT)."""
    array = volume.array.astype(np.float32, copy=False)
    mean = float(array.mean())
    if array.min() < 0 or mean <= 0:
        return Volume(array, volume.geometry)
    return Volume(array / np.float32(mean), volume.geometry)


class Stack:
    """Images on one grid, kept on disk until they are averaged: memory does not grow with them."""

    def __init__(self, grid: Geometry, folder: Path):
        self.grid, self._folder = grid, folder
        self._files: list[Path] = []
        self._weights: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, array: FloatArray, weight: float) -> None:
        """Take one more image (k, j, i)."""
        path = self._folder / f"{len(self._files):05d}.npy"
        np.save(path, array.astype(np.float32, copy=False))
        self._files.append(path)
        self._weights.append(weight)

    def average(self, statistic: str) -> Volume:
        """Return the images' mean, median or trimmed mean; the files are removed.

        Raises:
            RegRefineError: unknown statistic, or weights with one that cannot use them.
        """
        if statistic not in STATISTICS:
            raise RegRefineError(f"statistic: one of {', '.join(STATISTICS)}, got {statistic!r}")
        images = [np.load(path, mmap_mode="r") for path in self._files]
        plane = images[0][0].nbytes * len(images)
        step = max(1, int(_SLAB_BYTES // plane))
        result = np.empty(self.grid.shape, np.float32)
        for first in range(0, self.grid.shape[0], step):
            slab = np.stack([image[first : first + step] for image in images])
            result[first : first + step] = _reduced(slab, self._weights, statistic)
        del images
        for path in self._files:
            path.unlink()
        self._folder.rmdir()
        return Volume(result, self.grid)


def _reduced(slab: FloatArray, weights: Sequence[float], statistic: str) -> FloatArray:
    if statistic == "mean":
        return np.asarray(np.average(slab, axis=0, weights=weights))
    if statistic == "median":
        return np.asarray(np.median(slab, axis=0))
    cut = round(_TRIMMED * len(slab))
    ordered = np.sort(slab, axis=0)
    return np.asarray(ordered[cut : len(slab) - cut].mean(axis=0))


def sharpened(volume: Volume, amount: float, radius_voxels: float = 1.0) -> Volume:
    """Return the image plus `amount` of what a Gaussian takes away (unsharp masking)."""
    if amount == 0:
        return volume
    blurred = ndimage.gaussian_filter(volume.array, radius_voxels, mode="nearest")
    array = volume.array + np.float32(amount) * (volume.array - blurred)
    return Volume(np.clip(array, volume.array.min(), None), volume.geometry)


def gradient_energy(volume: Volume) -> float:
    """Return how sharp an image is: the mean squared gradient per mm over its variance."""
    array = volume.array.astype(np.float64)
    if array.std() == 0:
        return 0.0
    steps = np.gradient(array, *volume.geometry.spacing[::-1])
    return float(sum((step**2).mean() for step in steps) / array.var())


def correlation(one: Volume, other: Volume) -> float:
    """Return the correlation coefficient of two images on one grid; 0 where one is constant."""
    if one.array.std() == 0 or other.array.std() == 0:
        return 0.0
    return float(np.corrcoef(one.array.ravel(), other.array.ravel())[0, 1])
