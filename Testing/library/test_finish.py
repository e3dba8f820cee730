"""From the working grid's displacement to the fixed grid's field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.analytic import rotation

from RegRefineLib.finish import Finish, thinned_out
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.metrics.report import report
from RegRefineLib.ops.warp import jacobian_determinant, resize
from RegRefineLib.pair import Refined

GRID = Geometry.from_parts(
    (9, 17, 4), (1.5, 2.0, 3.0), rotation(np.array([0.3, 0.1, -0.2])), (7, -5, 3)
)
SMALL, LARGE = (12, 12, 12), (24, 24, 24)


def folds_percent(displacement: torch.Tensor) -> float:
    image = Volume(np.random.default_rng(0).random(LARGE, np.float32), Geometry(LARGE, np.eye(4)))
    finish = Finish(image, image, np.eye(4), Extras())
    return float(finish.result(Refined(displacement), Job()).after["folds_percent"])


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


@given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(5, 20)] * 3))
def test_few_voxels_tell_all_of_a_linear_map(seed, shape):
    random = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3] += random.normal(0, 0.4, (3, 4))
    grid = Geometry(shape, GRID.affine)
    whole = report(field=DisplacementField.from_affine(matrix, grid))
    few = report(field=DisplacementField.from_affine(matrix, thinned_out(grid)))
    assert few["folds_percent"] == whole["folds_percent"]
    assert few["largest_mm"] == pytest.approx(whole["largest_mm"], rel=1e-5)
    assert few["sdlogj"] == pytest.approx(whole["sdlogj"], abs=1e-4)


def test_correlation_counts_where_both_images_are_alone():
    """What lies outside the moving scan is no zero to be compared with."""
    grid = Geometry((20, 20, 20), np.eye(4))
    image = np.random.default_rng(0).random(grid.shape, np.float32) + 5.0
    moving = Volume(image[:12], Geometry((12, 20, 20), np.eye(4)))
    finish = Finish(Volume(image, grid), moving, np.eye(4), Extras())
    result = finish.result(Refined(torch.zeros((1, 3, *grid.shape))), Job())
    assert result.after["ncc"] == pytest.approx(1.0, abs=1e-6)
    assert not np.isnan(result.warped.array).any()
    np.testing.assert_allclose(result.warped.array[13:], image[:12].min())
    upper = np.zeros(grid.shape, np.uint8)
    upper[8:] = 1
    masked = Finish(
        Volume(np.where(upper, image, -image), grid),
        moving,
        np.eye(4),
        Extras(fixed_mask=Volume(upper, grid)),
    )
    ncc = masked.result(Refined(torch.zeros((1, 3, *grid.shape))), Job()).after["ncc"]
    assert ncc == pytest.approx(1.0, abs=1e-6)
