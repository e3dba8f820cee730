"""Determinants of fields whose determinants are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.metrics import jacobian
from RegRefineLib.metrics.jacobian import SCHEMES, determinant, of_field

SHAPE = (7, 8, 9)
GRID = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij"))


def linear(matrix):
    """u(x) = (A - 1) x + 1 in voxels."""
    return np.einsum("ab,bkji->akji", np.asarray(matrix, dtype=float) - np.eye(3), GRID) + 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_displacement_has_determinant_one(scheme):
    assert np.all(determinant(np.zeros((3, *SHAPE)), scheme) == 1)


@pytest.mark.parametrize("scheme", ["gradient", "central-cropped", "forward", "backward"])
def test_a_linear_map_has_its_matrix_determinant_everywhere(scheme):
    matrix = [[1.1, 0.2, -0.1], [0.3, 0.9, 0.05], [0.1, -0.2, 1.3]]
    np.testing.assert_allclose(determinant(linear(matrix), scheme), np.linalg.det(matrix))


def test_each_scheme_leaves_its_grid():
    shapes = {s: determinant(np.zeros((3, *SHAPE)), s).shape for s in SCHEMES}
    assert shapes["gradient"] == shapes["central-zero"] == shapes["central-edge"] == SHAPE
    assert shapes["central-cropped"] == (3, 4, 5)
    assert shapes["forward"] == shapes["backward"] == shapes["corrmlp"] == (6, 7, 8)


def test_schemes_differ_at_the_faces_as_they_say():
    u = np.zeros((3, *SHAPE))
    u[0] = 3.0  # a shift along axis 0: no volume changes
    zero, edge = determinant(u, "central-zero"), determinant(u, "central-edge")
    assert np.all(zero[0] == 2.5)
    assert np.all(zero[-1] == -0.5)  # the false fold
    assert np.all(zero[1:-1] == 1)
    assert np.all(edge == 1)
    u[0] = 0.5 * GRID[0]
    edge = determinant(u, "central-edge")
    assert np.all(edge[0] == 1.25)
    assert np.all(edge[1:-1] == 1.5)


def test_one_sided_differences_look_to_their_own_side():
    u = np.zeros((3, *SHAPE))
    u[1] = GRID[1] ** 2
    forward, backward = determinant(u, "forward"), determinant(u, "backward")
    assert forward[0, :, 0].tolist() == [1 + 2 * n + 1 for n in range(7)]
    np.testing.assert_array_equal(forward, backward)  # voxel n + 1 looks back on the same pair
    u[1] = GRID[1] * GRID[0]
    assert determinant(u, "forward")[:, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert determinant(u, "backward")[:, 0, 0].tolist() == [2, 3, 4, 5, 6, 7]


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(0.3, 10)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3),
)
def test_an_affine_field_in_mm_is_exact_on_any_grid(order, flips, spacing, turn):
    direction = np.eye(3)[list(order)] * flips
    direction = Rotation.from_rotvec(turn).as_matrix() @ direction
    geometry = Geometry.from_parts((4, 5, 6), spacing, direction, (10, -20, 30))
    matrix = np.array([[1.2, 0.1, 0.0], [-0.2, 0.8, 0.3], [0.1, 0.0, 1.1]])
    points = geometry.points()
    field = DisplacementField(points @ matrix.T + 5 - points, geometry)
    np.testing.assert_allclose(of_field(field), np.linalg.det(matrix), rtol=1e-9)


def test_a_mirror_folds_everywhere():
    found = determinant(linear(np.diag([-1.0, 1, 1])))
    assert np.all(found == -1)
    assert jacobian.folds(found) == found.size
    assert jacobian.folds_percent(found) == 100
    assert jacobian.folds_percent(found, 2 * found.size) == 50


def test_a_determinant_of_zero_folds_unless_counted_strictly():
    found = np.array([-1.0, 0.0, 1.0, 2.0])
    assert jacobian.folds(found) == 2
    assert jacobian.folds(found, strict=True) == 1
    assert jacobian.folds_percent(found) == 50


def test_sdlogj_of_two_volumes_is_half_the_distance_of_their_logarithms():
    found = np.array([1.0, 2.0] * 5)
    assert jacobian.sdlogj(found, 0) == pytest.approx(math.log(2) / 2)
    assert jacobian.sdlogj(found) == pytest.approx(math.log(5 / 4) / 2)
    assert jacobian.sdlogj(np.full(9, 1.3)) == pytest.approx(0, abs=1e-12)


def test_sdlogj_stays_finite_on_folds():
    assert jacobian.sdlogj(np.array([-9.0, 1.0])) == pytest.approx(math.log(4 / 1e-9) / 2)


def test_grids_too_small_for_a_scheme_give_no_figure():
    cropped = determinant(np.zeros((3, 4, 9, 9)), "central-cropped")
    assert math.isnan(jacobian.sdlogj(cropped))
    assert math.isnan(jacobian.folds_percent(cropped))


def test_a_single_slice_has_determinants_in_its_plane():
    u = np.zeros((3, 1, 5, 6))
    u[1] = 0.5 * np.arange(5.0)[:, None]
    assert np.all(determinant(u) == 1.5)


def test_single_precision_stays_single():
    assert determinant(np.zeros((3, *SHAPE), dtype=np.float32)).dtype == np.float32


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="scheme: one of gradient"):
        determinant(np.zeros((3, *SHAPE)), "sobel")
    with pytest.raises(ValueError, match="displacement"):
        determinant(np.zeros((*SHAPE, 3)))
