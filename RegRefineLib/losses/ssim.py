"""Structural similarity (Wang 2004, doi:10.1109/TIP.2003.819861) of volumes in [0, 1].

Reg-TTR's reading: an 11^3 Gaussian window of sigma 1.5, zeros outside, C1 = 0.01^2, C2 = 0.03^2,
covariances as E[xy] - E[x]E[y]. A box window is the other choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.similarity import Form
from ..ops.filters import Weights, gaussian
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

    @property
    def form(self) -> Form:
        """The term's name in the compiled loops."""
        return Form("ssim", C1, C2)

    def prepare(self, fixed_sums: Tensor, count: Tensor | float) -> Tensor:
        """Return the mean of I, its square + C1, and the variance of I + C2, (3, D, H, W)."""
        mean, square = fixed_sums / count
        return torch.stack([mean, mean * mean + C1, square - mean * mean + C2])

    def evaluate(
        self, sums: tuple[Tensor, ...], fixed_maps: tuple[Tensor, ...], count: Tensor | float
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return 1 - ssim per voxel and its derivatives by F(J), F(J^2), F(IJ); see Term.

        ssim = a1 a2 / (b1 b2), a1 and b1 of the means, a2 and b2 of the covariances.
        """
        m, q, c = sums
        if not isinstance(count, float):  # without a mask the weights sum to one
            m, q, c = m.div_(count), q.div_(count), c.div_(count)
        i, i_square, i_variance = fixed_maps
        i_m, m_square = i * m, m * m
        a2 = c.sub_(i_m).mul_(2.0).add_(C2)
        a1 = i_m.mul_(2.0).add_(C1)
        b2 = q.sub_(m_square).add_(i_variance)
        b1 = m_square.add_(i_square)
        scale = (b1 * b2).reciprocal_()
        ssim = (a1 * a2).mul_(scale)
        by_m = b1.neg_().add_(b2).mul_(ssim).neg_().mul_(m)  # m ssim (b1 - b2)
        by_m.addcmul_(a2.sub_(a1), i).mul_(scale).mul_(-2.0)
        by_q = torch.div(ssim, b2, out=q)
        by_c = torch.mul(a1, scale, out=c).mul_(-2.0)
        loss = ssim.neg_().add_(1.0)
        if not isinstance(count, float):
            by_m, by_q, by_c = by_m.div_(count), by_q.div_(count), by_c.div_(count)
        return loss, (by_m, by_q, by_c)


def ssim_loss(
    fixed: Tensor, moving: Tensor, mask: Tensor | None = None, *, window: str = "gaussian"
) -> Tensor:
    """Return 1 - mean(ssim), a scalar, of images (1, 1, D, H, W); differentiable in `moving`.

    Args:
        window: gaussian (11^3, sigma 1.5) or box (7^3).
    """
    term = SSIM() if window == "gaussian" else SSIM(box_width=7)
    return WindowedSimilarity(fixed, [(1.0, term)], mask)(moving)
