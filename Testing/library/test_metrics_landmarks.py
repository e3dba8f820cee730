"""Target registration error of fields that move landmarks by known distances."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.metrics import landmarks

GEOMETRY = Geometry.from_parts(
    (6, 7, 8), (0.7, 1.3, 5.0), Rotation.from_rotvec([0.3, -0.4, 0.5]).as_matrix(), (5, -60, 7)
)
POINTS = GEOMETRY.to_ras(np.random.default_rng(3).uniform(0, 1, (20, 3)) * [7, 6, 5])


def affine_field(matrix, shift):
    points = GEOMETRY.points()
    return DisplacementField(points @ matrix.T + shift - points, GEOMETRY)


def test_without_displacement_the_error_is_the_distance():
    field = DisplacementField(np.zeros((6, 7, 8, 3)), GEOMETRY)
    found = landmarks.errors(POINTS, POINTS + np.array([3, 0, 4]), field)
    np.testing.assert_allclose(found, 5)


def test_an_affine_field_takes_its_landmarks_home_on_an_oblique_grid():
    matrix, shift = np.array([[1.1, 0.2, 0], [0, 0.9, 0.1], [0.1, 0, 1]]), np.array([1, 2, 3])
    found = landmarks.errors(POINTS, POINTS @ matrix.T + shift, affine_field(matrix, shift))
    assert found.max() < 1e-9


def test_a_landmark_outside_takes_the_displacement_of_the_face():
    field = DisplacementField(np.ones((6, 7, 8, 3)) * [1, 0, 0], GEOMETRY)
    outside = GEOMETRY.to_ras([[-50, 3, 3], [4, 100, 3]])
    np.testing.assert_allclose(landmarks.errors(outside, outside, field), 1)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_voxel_errors_weigh_each_axis_by_its_spacing(interpolation):
    u = np.zeros((3, 6, 7, 8))
    u[0] = 2
    p = np.array([[1.5, 2, 3], [2, 5.5, 6]])
    found = landmarks.voxel_errors(p, p + np.array([0, 0, 1]), u, (1.5, 1, 4), interpolation)
    np.testing.assert_allclose(found, 5)


def test_linear_stays_between_its_voxels_and_cubic_does_not():
    u = np.zeros((3, 9, 3, 3))
    u[0, :4] = 1
    p = np.array([[x, 1, 1] for x in np.linspace(0, 8, 33)])
    linear, cubic = (landmarks.sample(u, p, i)[:, 0] for i in ("linear", "cubic"))
    assert linear.min() == 0
    assert linear.max() == 1
    assert cubic.max() > 1.01
    assert landmarks.sample(u, [[3.25, 1, 1]])[0, 0] == pytest.approx(0.75)


def test_the_worst_share_is_of_the_largest_errors():
    values = np.arange(10.0)
    assert landmarks.worst_mean(values) == 8
    assert landmarks.worst_mean(values, 1) == 4.5
    assert landmarks.worst_mean([4.0]) == 4
    assert math.isnan(landmarks.worst_mean([]))


def test_mistakes_are_named():
    field = DisplacementField(np.zeros((6, 7, 8, 3)), GEOMETRY)
    with pytest.raises(ValueError, match="landmarks"):
        landmarks.errors(POINTS, POINTS[1:], field)
    with pytest.raises(ValueError, match="interpolation"):
        landmarks.errors(POINTS, POINTS, field, "quintic")
