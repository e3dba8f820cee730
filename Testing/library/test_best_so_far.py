"""A run that is stopped never ends worse than what it began from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from RegRefineLib.errors import Stopped
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.pair import Pair, Refined
from RegRefineLib.registration import register
from RegRefineLib.start_kept import best_so_far

SHAPE = (20, 22, 24)
GRID = Geometry(SHAPE, np.eye(4))


def image(seed=0):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return ndimage.gaussian_filter(noise, 2.0).astype(np.float32)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))[None, None]


def shifted(voxels):
    displacement = torch.zeros((1, 3, *SHAPE))
    displacement[:, 0] = voxels
    return displacement


def pair(labels=False):
    """The fixed image is the moving one two voxels on; so are its labels."""
    moving = image()
    fixed = np.roll(moving, -2, axis=0)
    maps = {}
    if labels:
        maps = {
            "fixed_labels": tensor((fixed > fixed.mean()).astype(np.int64)),
            "moving_labels": tensor((moving > moving.mean()).astype(np.int64)),
        }
    return Pair(tensor(fixed), tensor(moving), GRID, **maps)


@pytest.mark.parametrize("labels", [False, True])
def test_the_best_of_result_start_and_linear_part_is_kept(labels):
    right, wrong, none = shifted(2.0), shifted(-3.0), shifted(0.0)
    this = pair(labels)
    for start, found, best in (
        (right, wrong, right),
        (wrong, right, right),
        (shifted(6.0), wrong, none),
    ):
        kept = best_so_far(this, start, Refined(found))
        assert torch.equal(kept.displacement, best)
        assert bool(kept.remarks) == (best is not found)
    assert "Dice" in kept.remarks[0] or not labels


@pytest.mark.parametrize("refinement", ["pyramid", "reg-ttr", "convexadam-adam"])
@pytest.mark.parametrize("step", [0, 2])
def test_a_stop_in_the_first_steps_keeps_the_dice_of_the_linear_part(refinement, step):
    """Images of one subject and labels of which the images know nothing: each step is a loss."""
    labels = Volume((image(1) > 0).astype(np.uint8), GRID)
    moving = Volume(np.roll(image(), 2, axis=2), GRID)

    def report(progress):
        if progress.stage == "refine" and progress.loss and progress.step >= step:
            raise Stopped

    job = Job(affine="none", start="none", refinement=refinement)
    extras = Extras(fixed_labels=labels, moving_labels=labels)
    result = register(Volume(image(), GRID), moving, job, report, extras)
    assert result.after["dice"]["mean"] >= result.affine_only["dice"]["mean"] - 1e-3
