"""Descents over a dozen numbers: Adam far from the minimum, BFGS near it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..geometry import FloatArray

Function = Callable[[FloatArray], tuple[float, FloatArray]]

_ENOUGH = 1e-4  # of the decrease that the slope predicts (Armijo)


class Adam:
    """Adam (Kingma 2015) for a dozen numbers; loading torch's own takes longer than the search."""

    def __init__(self, parameters: Tensor, betas: tuple[float, float] = (0.8, 0.95)):
        self.parameters, self.betas = parameters, betas
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Change the parameters by a step of about `rate` each."""
        b1, b2 = self.betas
        self.steps += 1
        self.first.mul_(b1).add_(gradient, alpha=1 - b1)
        self.second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second / (1 - b2**self.steps)).sqrt_().add_(1e-8)
        self.parameters.addcdiv_(self.first, scale, value=-rate / (1 - b1**self.steps))


def bfgs(
    function: Function, size: int, first: float, tolerance: float, evaluations: int
) -> tuple[FloatArray, float]:
    """Return the best point (size,) found from zero and its value (Nocedal & Wright, chapter 6).

    Args:
        function: value and gradient at a point; may raise Stopped, which is passed on.
        first: length of the first step.
        tolerance: steps shorter than this end the search.
        evaluations: at most so many calls.
    """
    x = np.zeros(size)
    value, slope = function(x)
    inverse = np.eye(size) * first / max(float(np.linalg.norm(slope)), 1e-12)
    left, known = evaluations - 1, False
    while left > 0:
        step = -inverse @ slope
        descent = float(slope @ step)
        if not np.isfinite(descent) or descent >= 0:
            break
        length = 1.0
        while left > 0:
            there, slope_there = function(x + length * step)
            left -= 1
            if there <= value + _ENOUGH * length * descent:
                break
            length *= 0.4
        else:
            break
        if not there <= value:
            break
        s, y = length * step, slope_there - slope
        x, value, slope = x + s, there, slope_there
        if float(np.abs(s).max()) < tolerance:
            break
        curvature = float(s @ y)
        if curvature > 1e-12 * float(np.linalg.norm(s) * np.linalg.norm(y)):
            if not known:  # the size of the curvature, which the first step does not know
                inverse, known = np.eye(size) * curvature / float(y @ y), True
            rho, eye = 1.0 / curvature, np.eye(size)
            left_side = eye - rho * np.outer(s, y)
            inverse = left_side @ inverse @ left_side.T + rho * np.outer(s, s)
    return x, value
