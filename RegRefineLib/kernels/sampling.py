"""Compiled sampling of volumes at positions, differentiable in these; asked for by ops/warp.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .door import loops
from .threads import array, spread

_PADDINGS = {"zeros": 0, "border": 1, "cut": 2}
Line = NDArray[np.float32]


def line_of(scale: list[float], shift: list[float], relative: bool) -> Line:
    """Return per axis how positions come from u: scale * (x + u) + shift, or scale * u + shift."""
    return np.array([scale, shift, [float(relative)] * 3], np.float32).T.copy()


EXACT = line_of([1.0] * 3, [0.0] * 3, True)
POSITIONS = line_of([1.0] * 3, [0.0] * 3, False)


def sampled(image: Tensor, u: Tensor, line: Line, mode: str, padding: str) -> Tensor:
    """Return `image` (N, C, D, H, W) at the positions of u (N, 3, d, h, w), (N, C, d, h, w)."""
    if mode == "nearest":
        return _forward(image, u.detach(), line, mode, padding)
    return _Linear.apply(u, image, line, padding)  # type: ignore[no-any-return]


@torch.no_grad()
def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Return inner + outer(x + inner), (N, 3, D, H, W) in voxels; the outer's border goes on."""
    return _forward(outer, inner, EXACT, "linear", "border", True)


def _forward(
    image: Tensor, u: Tensor, line: Line, mode: str, padding: str, compose: bool = False
) -> Tensor:
    count = max(image.shape[0], u.shape[0])
    out = image.new_empty((count, image.shape[1], *u.shape[2:]))
    code = loops("sampling")
    for volume, vectors, result in zip(
        image.expand(count, -1, -1, -1, -1), u.expand(count, -1, -1, -1, -1), out, strict=True
    ):
        v, x, o = array(volume), array(vectors), result.numpy()
        if mode == "linear" and padding == "border" and line is EXACT:
            spread(code.linear_border, x.shape[1], v, x, o, compose)
        else:
            form = code.nearest if mode == "nearest" else loops("hats").linear
            spread(form, x.shape[1], v, x, o, (line, _PADDINGS[padding]))
    return out


class _Linear(torch.autograd.Function):
    """Linear sampling with its derivative by the positions."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, image: Tensor, line: Line, padding: str) -> Tensor:
        ctx.save_for_backward(u, image)
        ctx.line, ctx.padding = line, padding
        return _forward(image, u, line, "linear", padding)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        u, image = ctx.saved_tensors
        back = grad_outputs[0]
        out = u.new_empty((back.shape[0], *u.shape[1:]))
        code, padding = loops("hats"), _PADDINGS[ctx.padding]
        for n in range(back.shape[0]):
            volume, vectors = image[n % image.shape[0]], array(u[n % u.shape[0]])
            spread(
                code.linear_slope,
                vectors.shape[1],
                *((array(volume), array(back[n])), vectors, out[n].numpy(), (ctx.line, padding)),
            )
        return out if u.shape[0] == out.shape[0] else out.sum(dim=0, keepdim=True), None, None, None
