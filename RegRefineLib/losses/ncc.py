"""Local normalised cross correlation (Avants 2008), squared, at one or several box windows.

    cc = cross^2 / (var_I * var_J + eps)

with sums, not means, over the window (so eps = 1e-5 is tiny), as VoxelMorph and Reg-TTR compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.similarity import Form
from ..ops.filters import Weights, box
from .windowed import Term, WindowedSimilarity

# Reg-TTR's windows and their weights: 0.5 NCC(5) + 0.3 NCC(9) + 0.2 NCC(13).
REG_TTR_WINDOWS = ((5, 0.5), (9, 0.3), (13, 0.2))


@dataclass(frozen=True)
class LocalNCC:
    """1 - cc at one box window."""

    width: int = 9
    eps: float = 1e-5

    @property
    def weights(self) -> Weights:
        """The window's 1-D weights."""
        return box(self.width)

    @property
    def form(self) -> Form:
        """The term's name in the compiled loops."""
        return Form("ncc", self.eps)

    def prepare(self, fixed_sums: Tensor, count: Tensor | float) -> Tensor:
        """Return the means and variances (as sums) of I, (2, D, H, W)."""
        mean_i = fixed_sums[0] / count
        return torch.stack([mean_i, fixed_sums[1] - mean_i * fixed_sums[0]])

    def evaluate(
        self, sums: tuple[Tensor, ...], fixed_maps: tuple[Tensor, ...], count: Tensor | float
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return 1 - cc per voxel and its derivatives by F(J), F(J^2), F(IJ); see Term."""
        j, jj, ij = sums
        mean_i, var_i = fixed_maps
        mean_j = j / count
        cross = ij.addcmul_(mean_i, j, value=-1.0)
        var_j = jj.addcmul_(mean_j, j, value=-1.0)
        slope = (var_i * var_j).add_(self.eps).reciprocal_().mul_(cross)  # cross / denominator
        loss = torch.mul(cross, slope).neg_().add_(1.0)
        by_ij = torch.mul(slope, -2.0, out=ij)
        by_jj = torch.mul(slope, slope, out=jj).mul_(var_i)  # cc * var_I / denominator
        by_j = torch.mul(mean_i, by_ij, out=j).addcmul_(mean_j, by_jj, value=2.0).neg_()
        return loss, (by_j, by_jj, by_ij)


def multi_window_terms(
    windows: Sequence[tuple[int, float]] = REG_TTR_WINDOWS, eps: float = 1e-5
) -> list[tuple[float, Term]]:
    """Return the terms of a weighted sum of local NCCs: (weight, LocalNCC) each."""
    return [(weight, LocalNCC(width, eps)) for width, weight in windows]


def local_ncc(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None = None,
    *,
    window: int = 9,
    eps: float = 1e-5,
) -> Tensor:
    """Return 1 - mean(cc), a scalar, of images (1, 1, D, H, W); differentiable in `moving`.

    VoxelMorph's and its descendants' -mean(cc) is this minus one.
    """
    return WindowedSimilarity(fixed, [(1.0, LocalNCC(window, eps))], mask)(moving)


def multi_window_ncc(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return Reg-TTR's 0.5 NCC(5) + 0.3 NCC(9) + 0.2 NCC(13), a scalar; see `local_ncc`."""
    return WindowedSimilarity(fixed, multi_window_terms(), mask)(moving)
