"""The best translation is found anywhere, to about a voxel of the lattice."""

import numpy as np
import pytest
from support.analytic import ORIENTATIONS
from support.small import grid, image_on

from RegRefineLib.geometry import Volume
from RegRefineLib.linear.translation import best_translation

GRID = grid((20, 18, 22), (2.0, 2.0, 2.0))


@pytest.mark.parametrize("shift", [(0, 0, 0), (6, -4, 8), (-300, 150, 40)], ids=str)
@pytest.mark.parametrize("axes", [0, 13, 40])
def test_a_shift_between_unlike_grids_is_found(shift, axes):
    there = grid((21, 23, 20), (2.1, 1.9, 2.2), ORIENTATIONS[axes])
    moving = image_on(there)
    affine = there.affine.copy()
    affine[:3, 3] += shift
    moving = Volume(moving.array, type(there)(there.shape, affine))
    found = best_translation(image_on(GRID), moving, 2.0)
    np.testing.assert_array_equal(found[:3, :3], np.eye(3))
    assert np.abs(found[:3, 3] - shift).max() <= 2.0


def test_a_part_of_the_image_finds_its_place():
    part = grid((20, 18, 12), (2.0, 2.0, 2.0), middle=(8, 0, 0))
    moving = image_on(part)
    moving = Volume(moving.array, grid((20, 18, 12), (2.0, 2.0, 2.0)))
    found = best_translation(image_on(GRID), moving, 2.0)
    assert np.abs(found[:3, 3] - (-8, 0, 0)).max() <= 2.0
