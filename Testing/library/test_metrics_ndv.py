"""The folded volume of fields simple enough to count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RegRefineLib.metrics.jacobian import determinant
from RegRefineLib.metrics.ndv import non_diffeomorphic, volume_map

SHAPE = (6, 8, 7)
GRID = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij"))
INNER = (slice(1, -1),) * 3


def test_the_identity_folds_nowhere():
    found = non_diffeomorphic(np.zeros((3, *SHAPE)))
    assert (found.volume, found.volume_percent, found.voxels, found.voxels_percent) == (0, 0, 0, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirror_folds_one_voxel_of_volume_per_voxel(axis):
    u = np.zeros((3, *SHAPE))
    u[axis] = -2 * GRID[axis]
    np.testing.assert_allclose(volume_map(u)[INNER], 1)
    found = non_diffeomorphic(u, cropped=True)
    assert found.volume_percent == pytest.approx(100)
    assert found.voxels == 4 * 6 * 5
    assert found.voxels_percent == 100


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_fold_between_voxels_is_found_where_central_differences_see_none(axis):
    # x + 0.6 * (-1)^x: one-sided differences are 2.2 and -0.2. Per voxel four of the eight
    # determinants are -0.2 and one star is -0.4: (4 * 0.2 + 0.4) * 0.5 / 6 = 0.1.
    u = np.zeros((3, *SHAPE))
    u[axis] = 0.6 * (-1) ** GRID[axis]
    assert np.all(determinant(u, "central-edge")[INNER] == 1)
    np.testing.assert_allclose(volume_map(u)[INNER], 0.1)


def test_only_the_mask_counts():
    u = np.zeros((3, *SHAPE))
    u[0] = -2 * GRID[0]
    mask = np.zeros(SHAPE)
    mask[2, 3:5, 3] = 7
    found = non_diffeomorphic(u, mask)
    assert found.volume == pytest.approx(2)
    assert found.voxels == 2
    assert found.voxels_percent == 100


def test_an_empty_mask_has_no_percentage():
    found = non_diffeomorphic(np.zeros((3, *SHAPE)), np.zeros(SHAPE))
    assert found.volume == 0
    assert math.isnan(found.volume_percent)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.1))
def test_small_displacements_never_fold(seed, size):
    # A difference changes by at most 0.2 per component, a row of three by 0.6. The inverse of the
    # identity's star matrix has rows of 1.5: 0.6 * 1.5 < 1 keeps all ten matrices regular, hence
    # their determinants positive, along the whole way from the identity.
    u = np.random.default_rng(seed).uniform(-size, size, (3, *SHAPE))
    assert non_diffeomorphic(u).volume == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="mask"):
        non_diffeomorphic(np.zeros((3, *SHAPE)), np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="displacement"):
        volume_map(np.zeros((*SHAPE, 3)))
