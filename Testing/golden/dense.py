"""Local NCC and SSIM by dense kernels and autograd, as published programs compute them.

In float32 these lose digits to cancellation, and their gradients more of them; the distance of a
float32 from a float64 evaluation is how far a published gradient may be from the exact one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def ncc(width: int) -> Loss:
    """Return 1 - mean(cc) with a box of ones."""

    def loss(i: Tensor, j: Tensor) -> Tensor:
        kernel = torch.ones(1, 1, width, width, width, dtype=i.dtype)
        s_i, s_j, s_ii, s_jj, s_ij = (
            F.conv3d(x, kernel, padding=width // 2) for x in (i, j, i * i, j * j, i * j)
        )
        mean_i, mean_j, count = s_i / width**3, s_j / width**3, width**3
        cross = s_ij - mean_j * s_i - mean_i * s_j + mean_i * mean_j * count
        var_i = s_ii - 2 * mean_i * s_i + mean_i * mean_i * count
        var_j = s_jj - 2 * mean_j * s_j + mean_j * mean_j * count
        return 1 - (cross * cross / (var_i * var_j + 1e-5)).mean()

    return loss


def ssim(i: Tensor, j: Tensor) -> Tensor:
    """Return 1 - mean(ssim) with an 11^3 Gaussian of sigma 1.5."""
    line = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=i.dtype) / 1.5) ** 2)
    line = line / line.sum()
    kernel = torch.einsum("a,b,c->abc", line, line, line)[None, None]
    m_i, m_j, m_ii, m_jj, m_ij = (
        F.conv3d(x, kernel, padding=5) for x in (i, j, i * i, j * j, i * j)
    )
    var_i, var_j, cov = m_ii - m_i * m_i, m_jj - m_j * m_j, m_ij - m_i * m_j
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * m_i * m_j + c1) * (2 * cov + c2)
    return 1 - (above / ((m_i * m_i + m_j * m_j + c1) * (var_i + var_j + c2))).mean()


def gradient_noise(loss: Loss, fixed: Tensor, moving: Tensor) -> float:
    """Return the largest distance of the float32 gradient by `moving` from the float64 one."""
    gradients = []
    for dtype in (torch.float32, torch.float64):
        variable = moving.detach().to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(fixed.to(dtype), variable), variable)
        gradients.append(gradient.double())
    return float((gradients[0] - gradients[1]).abs().max())
