"""From the working grid's displacement to the fixed grid's field."""

from __future__ import annotations

import numpy as np
import torch

from RegRefineLib.finish import Finish
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.warp import jacobian_determinant, resize

SMALL, LARGE = (12, 12, 12), (24, 24, 24)


def folds_percent(displacement: torch.Tensor) -> float:
    image = Volume(np.random.default_rng(0).random(LARGE, np.float32), Geometry(LARGE, np.eye(4)))
    finish = Finish(image, image, np.eye(4), Extras())
    return float(finish.outcome(displacement, Job())["after"]["folds_percent"])


def spike(height: float) -> torch.Tensor:
    """Return a displacement that rises by `height` voxels and falls by nearly as much again."""
    displacement = torch.zeros((1, 3, *SMALL))
    displacement[:, 2, :, :, 5], displacement[:, 2, :, :, 6] = height, 0.1 * height
    return displacement


def test_folds_that_only_interpolation_shows_are_mended():
    working = spike(1.5)  # one difference is -1.35, the central ones are -0.75 at the least
    assert float(jacobian_determinant(working).min()) > 0
    assert float(jacobian_determinant(resize(working, LARGE)).min()) < 0
    assert folds_percent(working) == 0.0


def test_folds_that_the_method_left_are_not_hidden():
    working = spike(4.0)
    assert float(jacobian_determinant(working).min()) < 0
    assert folds_percent(working) > 0
