"""Similarities made of windowed sums of J, J^2 and IJ, with their analytic gradient.

Local NCC and SSIM at any window are functions of three sums per voxel, where I is the fixed and J
the moving image:  s = (F(J), F(J^2), F(IJ))  with F a separable window (ops/filters.py). For a loss
L = mean over x of l(s(x)),

    dL/dJ = ( F(dl/ds1) + 2 J F(dl/ds2) + I F(dl/ds3) ) / N

because a symmetric window is its own adjoint. So one evaluation with gradient costs six filtered
maps per window, the three products are formed once for all windows, the sums of I are kept from
call to call, and autograd stores nothing but the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..kernels.door import serves
from ..kernels.similarity import Derivatives, Form, Images
from ..ops.filters import Weights, window_sum

# Planes worked on at a time: point-wise chains then stay in a CPU core's cache.
_CPU_SLAB_VOXELS = 1 << 16


class Term(Protocol):
    """One similarity at one window."""

    @property
    def weights(self) -> Weights:
        """The window's 1-D weights."""
        ...

    @property
    def form(self) -> Form:
        """The term's name in the compiled loops, with its parameters."""
        ...

    def evaluate(
        self, sums: tuple[Tensor, ...], fixed_maps: tuple[Tensor, ...], count: Tensor | float
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the loss l per voxel and its derivatives by F(J), F(J^2), F(IJ).

        `sums` are those three and may be overwritten, by the derivatives for one; `fixed_maps` are
        the output of `prepare`; `count` is F(1): the sum of the window's weights over voxels inside
        the mask (over all voxels without one).
        """
        ...

    def prepare(self, fixed_sums: Tensor, count: Tensor | float) -> Tensor:
        """Return what `evaluate` needs of F(I), F(I^2) (2, D, H, W), as maps stacked in front."""
        ...


class WindowedSimilarity:
    """The weighted sum of terms against one fixed image: call it with moving images.

    Args:
        fixed: (1, 1, D, H, W).
        terms: (factor, Term) each.
        mask: weights 0..1 of the voxels, (1, 1, D, H, W), or None. Voxels of weight zero neither
            count in the mean nor in any window.
        whole_windows: they do count in windows, and only the mean is masked.
        zeros_beyond: windows that reach beyond the image find zero intensity there that counts, as
            published; False: what lies beyond does not count.
    """

    def __init__(
        self,
        fixed: Tensor,
        terms: Sequence[tuple[float, Term]],
        mask: Tensor | None = None,
        *,
        whole_windows: bool = False,
        zeros_beyond: bool = True,
    ):
        self.fixed = fixed.detach()[0, 0]
        self.terms = list(terms)
        self.mask = None if mask is None else mask.detach().to(fixed)[0, 0]
        self.window_mask = None if whole_windows else self.mask
        self.zeros_beyond = zeros_beyond
        masked = self.fixed if self.window_mask is None else self.fixed * self.window_mask
        products = torch.stack([masked, masked * self.fixed])
        self.counts = [self._count(term) for _, term in self.terms]
        self.fixed_maps = [
            term.prepare(window_sum(products, term.weights), count)
            for (_, term), count in zip(self.terms, self.counts, strict=True)
        ]
        self.total = self.fixed.numel() if self.mask is None else self.mask.sum().clamp_min(1e-8)

    def _count(self, term: Term) -> Tensor | float:
        """What F(1) would be."""
        whole = float(sum(term.weights)) ** 3
        if not self.zeros_beyond:
            there = torch.ones_like(self.fixed) if self.window_mask is None else self.window_mask
            return window_sum(there, term.weights).clamp_min(1e-3 * whole)
        if self.window_mask is None:
            return whole
        missing = window_sum(1.0 - self.window_mask, term.weights)
        return (whole - missing).clamp_min(1e-3 * whole)

    def __call__(self, moving: Tensor) -> Tensor:
        """Return the loss, a scalar, of `moving` (1, 1, D, H, W)."""
        return _Windowed.apply(moving, self)

    def value_and_gradient(self, moving: Tensor, with_gradient: bool) -> tuple[Tensor, Any]:
        """Return the loss and its gradient (D, H, W) by the moving image (None if not wanted)."""
        if serves(moving, self.fixed):
            return self._compiled(moving, with_gradient)
        j = moving if self.window_mask is None else moving * self.window_mask
        products = moving.new_empty((3, *moving.shape))
        products[0] = j
        torch.mul(j, moving, out=products[1])
        torch.mul(j, self.fixed, out=products[2])
        loss = torch.zeros((), dtype=moving.dtype, device=moving.device)
        gradient: Tensor | None = None
        for (factor, term), fixed_maps, count in zip(
            self.terms, self.fixed_maps, self.counts, strict=True
        ):
            sums = window_sum(products, term.weights)
            value = self._replace_by_derivatives(term, sums, fixed_maps, count)
            loss = loss + factor * value / self.total
            if with_gradient:
                back = window_sum(sums, term.weights)
                if gradient is None:
                    gradient = back.mul_(factor)
                else:
                    gradient.add_(back, alpha=factor)
        if gradient is None:
            return loss, None
        g1, g2, g3 = gradient.unbind()
        whole = g1.addcmul_(g2, moving, value=2.0).addcmul_(g3, self.fixed)
        if self.window_mask is not None:
            whole.mul_(self.window_mask)
        return loss, whole.div_(self.total)

    def _compiled(self, moving: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        """As `value_and_gradient`, by compiled loops."""
        counted = moving if self.window_mask is None else moving * self.window_mask
        images = Images(counted, moving, self.fixed, self.mask)
        total, loss = float(self.total), 0.0
        gradient: Tensor | None = None
        for (factor, term), maps, count in zip(
            self.terms, self.fixed_maps, self.counts, strict=True
        ):
            one = Derivatives(images, term.weights)
            loss += factor * one.loss(term.form, maps, count) / total
            if with_gradient:
                gradient = one.add_gradient(gradient, factor / total)
        if gradient is not None and self.window_mask is not None:
            gradient.mul_(self.window_mask)
        return torch.tensor(loss, dtype=moving.dtype), gradient

    def _replace_by_derivatives(
        self, term: Term, sums: Tensor, fixed_maps: Tensor, count: Tensor | float
    ) -> Tensor:
        """Overwrite the sums (3, D, H, W) by l's derivatives; return the sum of l over voxels."""
        total = torch.zeros((), dtype=torch.float64 if sums.device.type == "cpu" else sums.dtype)
        total = total.to(sums.device)
        for slab in _slabs(self.fixed):
            here = count if isinstance(count, float) else count[slab]
            s, f = sums[:, slab].unbind(), fixed_maps[:, slab].unbind()
            loss, derivatives = term.evaluate(s, f, here)
            if self.mask is not None:
                m = self.mask[slab]
                loss = loss * m
                derivatives = tuple(d * m for d in derivatives)  # type: ignore[assignment]
            total = total + loss.sum()
            for place, derivative in zip(s, derivatives, strict=True):
                if place.data_ptr() != derivative.data_ptr():
                    place.copy_(derivative)
        return total.to(sums.dtype)


def _slabs(volume: Tensor) -> Iterator[slice]:
    depth = volume.shape[0]
    step = depth
    if volume.device.type == "cpu":
        step = max(1, _CPU_SLAB_VOXELS * torch.get_num_threads() // volume[0].numel())
    for start in range(0, depth, step):
        yield slice(start, min(start + step, depth))


class _Windowed(torch.autograd.Function):
    """Hands the analytic gradient, computed with the value, to autograd."""

    @staticmethod
    def forward(ctx: Any, moving: Tensor, similarity: WindowedSimilarity) -> Tensor:
        loss, gradient = similarity.value_and_gradient(
            moving.detach()[0, 0], ctx.needs_input_grad[0]
        )
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient[None, None], None
