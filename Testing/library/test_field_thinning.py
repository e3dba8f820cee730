"""Fields stored on fewer nodes: never farther off than asked, and smaller where they are smooth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from RegRefineLib.field_thinning import thinned
from RegRefineLib.geometry import DisplacementField, Geometry

GRID = Geometry((33, 38, 41), np.diag([1.5, 1.0, 2.0, 1.0]))


def field(sigma, size=4.0, grid=GRID):
    rng = np.random.default_rng(0)
    waves = [ndimage.gaussian_filter(rng.normal(size=grid.shape), sigma) for _ in range(3)]
    vectors = np.stack(waves, axis=-1)
    return DisplacementField((vectors * size / np.abs(vectors).max()).astype(np.float32), grid)


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0, 12.0])
@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.5])
def test_the_error_stays_below_the_bound_at_every_voxel(sigma, tolerance):
    before = field(sigma)
    after = thinned(before, tolerance)
    points = GRID.points().reshape(-1, 3)
    error = np.linalg.norm(after.at(points) - before.vectors.reshape(-1, 3), axis=1)
    assert error.max() <= tolerance * GRID.spacing.min() + 1e-5


def test_smooth_fields_shrink_and_rough_ones_stay():
    smooth, rough = field(12.0), field(0.7)
    assert smooth.vectors.size > 6 * thinned(smooth).vectors.size
    assert np.shares_memory(thinned(rough).vectors, rough.vectors)
    assert thinned(smooth, 0.0) is smooth


def test_a_linear_field_keeps_a_handful_of_nodes_also_of_an_oblique_grid():
    affine = np.array([[0, -2.0, 0, 5], [1.0, 0, 0, 7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    grid = Geometry((12, 40, 17), affine)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.02 * np.random.default_rng(0).normal(size=(3, 3))
    linear = DisplacementField.from_affine(matrix, grid)
    after = thinned(linear, 0.01)
    assert after.vectors.size * 30 < linear.vectors.size
    points = grid.points().reshape(-1, 3)
    np.testing.assert_allclose(after.at(points), linear.vectors.reshape(-1, 3), atol=1e-3)


def test_a_grid_of_few_voxels_is_left_alone():
    tiny = field(5.0, grid=Geometry((2, 1, 3), np.eye(4)))
    assert thinned(tiny).geometry.shape == (2, 1, 3)
