"""The best of all translations between two images: masked correlation by FFT.

All whole-voxel shifts of a coarse lattice are compared at once, by the correlation coefficient over
the overlap of the two images (D. Padfield, IEEE TIP 2012, doi:10.1109/TIP.2011.2181402). Partial
fields of view, and headers that place the images metres apart, are handled.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..geometry import FloatArray, Geometry, Volume
from ..resample import antialiased, resample

# At least this share of the smaller image must overlap the other.
LEAST_OVERLAP = 0.25


def best_translation(fixed: Volume, moving: Volume, spacing_mm: float) -> FloatArray:
    """Return the 4x4 (fixed RAS mm -> moving RAS mm) of the best shift, to about a voxel.

    Args:
        spacing_mm: the lattice's step, for both images.
    """
    a, inside_a, origin_a = _on_lattice(fixed, spacing_mm)
    b, inside_b, origin_b = _on_lattice(moving, spacing_mm)
    score = _masked_correlation(a, inside_a, b, inside_b)
    peak = np.unravel_index(int(score.argmax()), tuple(score.shape))
    # wrapped: shifts from -(size of a - 1) on lie at the end
    shift = [
        p if p < n else p - total for p, n, total in zip(peak, b.shape, score.shape, strict=True)
    ]
    matrix = np.eye(4)
    matrix[:3, 3] = origin_b - origin_a + spacing_mm * np.array(shift[::-1])
    return matrix


def _on_lattice(volume: Volume, spacing_mm: float) -> tuple[Tensor, Tensor, FloatArray]:
    """Return the image and where it is, (k,j,i) on an RAS-aligned lattice, and its origin."""
    corners = volume.geometry.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(np.ceil((high - low) / spacing_mm).astype(int), 1)
    origin = (low + high) / 2 - spacing_mm * (size - 1) / 2
    grid = Geometry.from_parts(size[::-1], [spacing_mm] * 3, np.eye(3), origin)
    ones = Volume(np.ones(volume.array.shape, np.uint8), volume.geometry)
    image = resample(antialiased(volume, grid), grid, outside=0.0).array
    inside = resample(ones, grid, None, "nearest").array
    return (
        torch.from_numpy(np.array(image, np.float64)),
        torch.from_numpy(np.array(inside, np.float64)),
        origin,
    )


def _masked_correlation(a: Tensor, inside_a: Tensor, b: Tensor, inside_b: Tensor) -> Tensor:
    """Return the correlation coefficient for every shift d of sum_x a(x) b(x + d), wrapped."""
    size = [n + m - 1 for n, m in zip(a.shape, b.shape, strict=True)]

    def spectrum(x: Tensor) -> Tensor:
        return torch.fft.rfftn(x, size)

    def correlate(x: Tensor, y: Tensor) -> Tensor:
        return torch.fft.irfftn(x.conj() * y, size)

    a, b = a * inside_a, b * inside_b
    fa, fia, faa = spectrum(a), spectrum(inside_a), spectrum(a * a)
    fb, fib, fbb = spectrum(b), spectrum(inside_b), spectrum(b * b)
    count = correlate(fia, fib).clamp_min(1e-3)
    sum_a, sum_b = correlate(fa, fib), correlate(fia, fb)
    cross = correlate(fa, fb) - sum_a * sum_b / count
    var_a = (correlate(faa, fib) - sum_a**2 / count).clamp_min(0)
    var_b = (correlate(fia, fbb) - sum_b**2 / count).clamp_min(0)
    floor = 1e-6 * float(var_a.max()) * float(var_b.max())
    score = cross / (var_a * var_b + floor).sqrt()
    enough = LEAST_OVERLAP * min(float(inside_a.sum()), float(inside_b.sum()))
    return torch.where(count >= enough, score, torch.full_like(score, -1.0))
