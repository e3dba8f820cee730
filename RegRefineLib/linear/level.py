"""Both images at one resolution of the search, and the loss of a matrix that aligns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry import FloatArray, Geometry, Volume
from ..losses.mutual_information import mutual_information
from ..losses.ncc import LocalNCC
from ..losses.windowed import WindowedSimilarity
from ..ops.affine import through_matrix
from ..ops.filters import box, downsampled, window_sum
from ..prepare import to_tensor
from ..resample import coarser, resample

# weight of the linear part's stretch relative to normalised mutual information (which differs by
# 0.01 to 0.1 between a good and a bad alignment): without it, half-overlapping images collapse
STRETCH = 1.0
LEAST_SLICES = 2  # one shows no tilt
WINDOW = 7  # voxels of the local correlation
EPS = 1e-8  # beside the product of two windows' variances
CONTRAST = 1e-3  # of the largest variance of a window
DARK = 0.1  # of the range: darker voxels may be background
ALIKE = 0.1  # correlation within the foreground above which images are of one kind
FEWEST_VOXELS = 100
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Image:
    """An image (1, 1, D, H, W), the weights of its voxels (None: all one), and its grid."""

    values: Tensor
    weights: Tensor | None
    grid: Geometry

    @property
    def volume(self) -> Volume:
        """The image without its weights."""
        return Volume(self.values[0, 0].numpy(), self.grid)

    def coarser(self, mm: float) -> Image:
        """Return the image on voxels of about `mm`, itself where these are no larger."""
        grid = coarser(self.grid, mm, LEAST_SLICES)
        if grid.shape == self.grid.shape:
            return self
        weights = None if self.weights is None else downsampled(self.weights, grid.shape)
        return Image(downsampled(self.values, grid.shape), weights, grid)


def image_of(volume: Volume, mask: Volume | None) -> Image:
    """Return a volume, scaled, with the weights of its mask."""
    values = to_tensor(volume, _CPU).float()
    if mask is None:
        return Image(values, None, volume.geometry)
    inside = Volume((mask.array != 0).astype(np.float32), mask.geometry)
    weights = to_tensor(resample(inside, volume.geometry), _CPU)
    return Image(values, weights, volume.geometry)


@dataclass(frozen=True, eq=False)
class Level:
    """Both images at one resolution, and the size of its voxels in mm."""

    fixed: Image
    moving: Image
    mm: float

    def rows(self, matrix: Tensor) -> Tensor:
        """Return the (3, 4) from fixed to moving voxels (k, j, i) of a 4x4 in RAS mm."""
        to_moving = torch.tensor(self.moving.grid.inverse_affine)
        index = to_moving @ matrix @ torch.tensor(self.fixed.grid.affine)  # (i,j,k) -> (i,j,k)
        return torch.cat([index[:3, :3].flip(0, 1), index[:3, 3:].flip(0)], dim=1)

    def moved(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moving image and its weights on the fixed grid, through a 4x4 in RAS mm."""
        moving = self.moving
        # the border is repeated outwards: zeros would count as image where the weight is one half
        return through_matrix(
            moving.values, moving.weights, self.rows(matrix), self.fixed.grid.shape
        )

    @torch.no_grad()
    def share(self, matrix: FloatArray) -> float:
        """Return the share of the fixed voxels that the moving image covers."""
        _, inside = self.moved(torch.tensor(matrix))
        return float(self._share(inside))

    def _share(self, inside: Tensor) -> Tensor:
        weights = self.fixed.weights
        if weights is None:
            return inside.mean()
        return (weights * inside).sum() / weights.sum().clamp_min(1)

    def _weight(self, inside: Tensor) -> Tensor:
        return inside if self.fixed.weights is None else self.fixed.weights * inside

    def information(self, matrix: Tensor, share_before: float, normalised: bool) -> Tensor:
        """Return minus the mutual information, plus penalties on lost overlap and on stretch."""
        moved, inside = self.moved(matrix)
        weight = self._weight(inside.detach())
        loss = mutual_information(self.fixed.values, moved, weight, normalised=normalised)
        # keeps the images from drifting apart until little is left to compare
        share = self._share(inside)
        loss = loss + (0.9 - share / max(share_before, 1e-3)).clamp_min(0) + 0.1 * (1 - share)
        return loss + STRETCH * _stretch(matrix[:3, :3])

    @torch.no_grad()
    def is_of_one_kind(self, matrix: FloatArray) -> bool:
        """Whether intensities correlate positively within the foreground of both images.

        Local correlation is accurate only between images of one kind: the outline of a
        skull-stripped head is bright on dark in both images, whatever the contrast within, and
        biases the result.
        """
        moved, inside = self.moved(torch.tensor(matrix))
        fixed = self.fixed.values
        contents = self._weight(inside) > 0.99
        for image in (fixed, moved):
            low, high = image.min(), image.max()
            contents = contents & (image > low + DARK * (high - low))
        a, b = fixed[contents], moved[contents]
        if a.numel() < FEWEST_VOXELS:
            return False
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum()) > ALIKE * float(a.norm() * b.norm())

    @torch.no_grad()
    def correlation(self, matrix: FloatArray) -> Callable[[Tensor], Tensor]:
        """Return the loss of matrices near `matrix` by squared local correlation.

        Only windows that lie in both images under that matrix and contain contrast are used;
        shading has no effect. In flat regions a smooth image could lower the loss by a steeper
        gradient alone.
        """
        _, inside = self.moved(torch.tensor(matrix))
        weights, values = box(WINDOW), self.fixed.values
        cut = window_sum((self._weight(inside) <= 0.99).float(), weights) > 0.5
        mean = window_sum(values, weights) / WINDOW**3
        variance = (window_sum(values * values, weights) / WINDOW**3 - mean * mean).where(~cut, 0)
        mask = (variance > CONTRAST * variance.max()).float()
        similarity = WindowedSimilarity(
            values, [(1.0, LocalNCC(WINDOW, EPS))], mask, whole_windows=True, zeros_beyond=False
        )
        return lambda found: similarity(self.moved(found)[0])


def _stretch(linear: Tensor) -> Tensor:
    """Return about the sum of squared logarithms of the map's scales: 0 for a rigid map."""
    unit = torch.eye(3, dtype=linear.dtype)
    return (linear.T @ linear - unit).square().sum() / 4
