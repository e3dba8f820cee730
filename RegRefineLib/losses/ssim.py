"""Structural similarity (Wang 2004, doi:10.1109/TIP.2003.819861) of volumes in [0, 1].

Reg-TTR's reading: an 11^3 Gaussian window of sigma 1.5, zeros outside, C1 = 0.01^2, C2 = 0.03^2,
covariances as E[xy] - E[x]E[y]. A box window is the other choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..filters import Weights, gaussian
from .windowed import WindowedSimilarity

C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class SSIM:
    """1 - ssim at one window; box_width 0 means the Gaussian."""

    sigma: float = 1.5
    width: int = 11
    box_width: int = 0

    @property
    def weights(self) -> Weights:
        """The window's 1-D weights, which sum to one."""
        if self.box_width:
            return (1.0 / self.box_width,) * self.box_width
        return gaussian(self.sigma, self.width)

    def evaluate(
        self, sums: tuple[Tensor, ...], fixed_sums: tuple[Tensor, ...], count: Tensor | float
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return 1 - ssim per voxel and its derivatives by F(J), F(J^2), F(IJ); see Term."""
        m, q, c = (s / count for s in sums)
        i, ii = (s / count for s in fixed_sums)
        i_m = i * m
        a2 = (c - i_m).mul_(2.0).add_(C2)
        a1 = i_m.mul_(2.0).add_(C1)
        mean_squares = m * m
        b2 = q.sub_(mean_squares).add_(ii).addcmul_(i, i, value=-1.0).add_(C2)
        b1 = mean_squares.addcmul_(i, i).add_(C1)
        scale = (b1 * b2).reciprocal_()
        by_q = (a1 * a2).mul_(scale)  # ssim, for now
        loss = 1.0 - by_q
        by_m = m * 2.0 * by_q * (b1.reciprocal_() - 1.0 / b2)
        by_m = by_m.addcmul_(i * 2.0, (a1 - a2).mul_(scale))
        by_q = by_q.div_(b2)
        by_c = a1.mul_(scale).mul_(-2.0)
        return loss, (by_m.div_(count), by_q.div_(count), by_c.div_(count))


def ssim_loss(
    fixed: Tensor, moving: Tensor, mask: Tensor | None = None, *, window: str = "gaussian"
) -> Tensor:
    """Return 1 - mean(ssim), a scalar, of images (1, 1, D, H, W); differentiable in `moving`.

    Args:
        window: gaussian (11^3, sigma 1.5) or box (7^3).
    """
    term = SSIM() if window == "gaussian" else SSIM(box_width=7)
    return WindowedSimilarity(fixed, [(1.0, term)], mask)(moving)
