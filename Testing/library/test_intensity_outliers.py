"""A few voxels that take the whole range are noticed, and percentiles are used with a sentence."""

import numpy as np
import pytest
from support.small import grid, image_on

from RegRefineLib.geometry import Volume
from RegRefineLib.intensity import has_outliers
from RegRefineLib.job import Extras, Job
from RegRefineLib.plan import plan

GRID = grid((20, 22, 24), (2.0, 2.0, 2.0))


def spotted(value: float) -> Volume:
    array = image_on(GRID).array.astype(np.float32).copy()
    array[5:7, 5:7, 5:7] = value * array.max()
    return Volume(array, GRID)


@pytest.mark.parametrize("value", [30.0, -30.0])
def test_a_hot_spot_or_a_deep_hole_is_an_outlier(value):
    assert has_outliers(spotted(value))
    assert not has_outliers(image_on(GRID))


def test_a_small_object_in_an_empty_volume_is_none():
    array = np.zeros(GRID.shape, np.float32)
    array[8:12, 8:12, 8:12] = np.linspace(0.2, 1, 64).reshape(4, 4, 4)
    assert not has_outliers(Volume(array, GRID))


def test_percentiles_are_chosen_unless_the_user_or_the_preset_says_otherwise():
    fixed, moving = spotted(30.0), image_on(GRID)
    planned = plan(fixed, moving, Job(device="cpu"), Extras())
    assert planned.job.intensity == "percentile"
    assert "fixed image: a few voxels" in planned.warnings[-1]
    asked = plan(fixed, moving, Job(device="cpu", intensity="minmax"), Extras())
    assert asked.job.intensity == "minmax"
    released = plan(fixed, moving, Job(preset="reg-ttr-released", device="cpu"), Extras())
    assert released.job.intensity == "minmax"
