"""Where two images agree least: local correlation, and the places to look at first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import FloatArray, Volume
from ..resample import coarser, resample

WINDOW_MM = 12.0  # edge of the cubes whose correlation is taken
COARSE_MM = 3.0  # voxels that the search is done on
APART_MM = 25.0  # least distance between two places


class Place(NamedTuple):
    """A point to look at.

    Attributes:
        ras_mm: where it is in the fixed image.
        voxel: its voxel (k, j, i).
        correlation: the absolute local correlation there, 0 to 1.
    """

    ras_mm: FloatArray
    voxel: tuple[int, int, int]
    correlation: float


def worst_places(fixed: Volume, warped: Volume, count: int = 3) -> list[Place]:
    """Return the places where the images agree least, the worst first.

    At every point the absolute correlation of both images in a cube of WINDOW_MM is taken, which
    asks for no common contrast; cubes of little contrast in either image are left out. Places are
    APART_MM from each other.
    """
    grid = coarser(fixed.geometry, COARSE_MM)
    a, b = (resample(v, grid).array.astype(np.float64) for v in (fixed, warped))
    size = [max(3, round(WINDOW_MM / s)) for s in grid.spacing[::-1]]
    correlation, contrast = local_correlation(a, b, size)
    # what is worth a look: disagreement where there is something to disagree about
    badness = (1.0 - correlation) * contrast
    inside: NDArray[np.bool_] = np.zeros(badness.shape, dtype=bool)
    rim = [int(n) // 20 + 1 for n in inside.shape]
    inside[tuple(slice(m, -m) for m in rim)] = True
    badness = np.where(inside, badness, 0.0)
    found: list[Place] = []
    points = grid.points()
    for _ in range(count):
        k, j, i = np.unravel_index(int(badness.argmax()), badness.shape)
        if badness[k, j, i] <= 0:
            break
        point = points[k, j, i]
        index = np.rint(fixed.geometry.to_index(point[None])[0])[::-1].astype(int)
        index = np.clip(index, 0, np.array(fixed.geometry.shape) - 1)
        where: tuple[int, int, int] = tuple(int(n) for n in index)  # type: ignore[assignment]
        found.append(Place(point, where, float(correlation[k, j, i])))
        badness[np.linalg.norm(points - point, axis=-1) < APART_MM] = 0.0
    return found


def local_correlation(
    a: NDArray[np.float64], b: NDArray[np.float64], size: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the absolute correlation in windows, and the contrast, both 0 to 1.

    The contrast is the smaller of both images' standard deviations in the window, as a share of
    each image's own largest.
    """

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.uniform_filter(values, size, mode="nearest")  # type: ignore[no-any-return]

    mean_a, mean_b = mean(a), mean(b)
    var_a = np.maximum(mean(a * a) - mean_a**2, 0.0)
    var_b = np.maximum(mean(b * b) - mean_b**2, 0.0)
    covariance = mean(a * b) - mean_a * mean_b
    product = np.sqrt(var_a * var_b)
    floor = 1e-12 + 1e-6 * float(product.max())
    correlation = np.clip(np.abs(covariance) / np.maximum(product, floor), 0, 1)
    deviations = (np.sqrt(var_a), np.sqrt(var_b))
    tops = [max(float(np.percentile(d, 99)), 1e-12) for d in deviations]
    contrast = np.minimum(*(np.clip(d / t, 0, 1) for d, t in zip(deviations, tops, strict=True)))
    return correlation, contrast
