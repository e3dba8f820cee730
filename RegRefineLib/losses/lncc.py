"""ICON's local normalised cross correlation: Gaussian windows, and not squared unless asked.

    r = cov / sqrt((max(var_I, 0) + eps) (max(var_J, 0) + eps))
    loss = 1 - mean r  or  1 - mean r^2

with means over a Gaussian of 4 sigma + 1 voxels (cut at 2 sigma), zeros outside the image. The
sign of r counts, unlike in ncc.py: dark on bright is no match.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..kernels.similarity import Form
from ..ops.filters import Weights, gaussian
from .windowed import WindowedSimilarity


@dataclass(frozen=True)
class GaussianNCC:
    """1 - r, or 1 - r^2, at one Gaussian window; see windowed.Term."""

    sigma: float = 5.0
    squared: bool = False
    eps: float = 1e-5

    @property
    def weights(self) -> Weights:
        """The window's 1-D weights, which sum to one."""
        return gaussian(self.sigma, 2 * round(2 * self.sigma) + 1)

    @property
    def form(self) -> Form:
        """The term's name in the compiled loops."""
        return Form("gaussian-ncc", self.eps, float(self.squared))

    def prepare(self, fixed_sums: Tensor, count: Tensor | float) -> Tensor:
        """Return the means of I and I^2, (2, D, H, W)."""
        return fixed_sums / count

    def evaluate(
        self, sums: tuple[Tensor, ...], fixed_maps: tuple[Tensor, ...], count: Tensor | float
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the loss per voxel and its derivatives by F(J), F(J^2), F(IJ)."""
        m, q, c = (s / count for s in sums)
        i, ii = fixed_maps
        var_i = ii.addcmul(i, i, value=-1.0).clamp_min_(0).add_(self.eps)
        var_j = q.addcmul_(m, m, value=-1.0)
        alive = var_j > 0
        var_j = var_j.clamp_min_(0).add_(self.eps)
        cov = c.addcmul_(i, m, value=-1.0)
        by_c = (var_i.mul_(var_j)).rsqrt_()
        r = cov.mul_(by_c)
        by_q = (r / var_j).mul_(alive).mul_(-0.5)
        by_m = i.mul(by_c).addcmul_(by_q, m, value=2.0).neg_()
        outer = r.mul(-2.0) if self.squared else -1.0
        loss = 1 - (r * r if self.squared else r)
        return loss, (by_m * outer / count, by_q * outer / count, by_c * outer / count)


def lncc(
    fixed: Tensor,
    moving: Tensor,
    mask: Tensor | None = None,
    *,
    sigma: float = 5.0,
    squared: bool = False,
    whole_windows: bool = False,
) -> Tensor:
    """Return 1 - the mean local correlation, a scalar, of images (1, 1, D, H, W).

    Differentiable in `moving`.

    Args:
        mask: weights 0..1 of the voxels, (1, 1, D, H, W), or None for all.
        sigma: of the window, in voxels.
        squared: r^2 instead of r: contrast may be inverted.
        whole_windows: voxels of mask zero still count within windows, as in ICON.
    """
    term = GaussianNCC(sigma, squared)
    return WindowedSimilarity(fixed, [(1.0, term)], mask, whole_windows=whole_windows)(moving)


def lncc_squared(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return 1 - the mean squared local correlation, a scalar; see `lncc`."""
    return lncc(fixed, moving, mask, squared=True)
