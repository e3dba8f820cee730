from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.analytic import centred, displacement, field_on, geometries, rotation

from RegRefineLib.geometry import DisplacementField, Geometry, Volume, read_only

quick = settings(max_examples=50, deadline=None, derandomize=True)
points = st.lists(st.tuples(*[st.floats(-500, 500)] * 3), min_size=1, max_size=5).map(np.array)


@quick
@given(geometry=geometries(), ras=points)
def test_index_and_ras_are_inverse(geometry, ras):
    assert np.allclose(geometry.to_ras(geometry.to_index(ras)), ras, atol=1e-9)


@quick
@given(geometry=geometries())
def test_spacing_direction_and_origin_make_the_affine(geometry):
    again = Geometry.from_parts(
        geometry.shape, geometry.spacing, geometry.direction, geometry.origin
    )
    assert np.allclose(again.affine, geometry.affine, atol=1e-12)
    assert np.allclose(np.linalg.norm(geometry.direction, axis=0), 1)


@quick
@given(geometry=geometries(extent_mm=9))
def test_points_are_indexed_kji_and_hold_xyz(geometry):
    every = geometry.points()
    assert every.shape == (*geometry.shape, 3)
    k, j, i = (n - 1 for n in geometry.shape)
    assert np.allclose(every[k, j, i], geometry.to_ras([i, j, k]))
    assert np.allclose(every[k, 0, 0], geometry.affine @ [0, 0, k, 1] @ np.eye(4)[:, :3])
    assert np.allclose(every.reshape(-1, 3).mean(axis=0), geometry.centre)


@quick
@given(geometry=geometries(), shape=st.tuples(*[st.integers(1, 40)] * 3))
def test_resizing_keeps_the_block_of_space(geometry, shape):
    resized = geometry.resized(shape)
    assert resized.shape == shape
    assert np.allclose(resized.corners(), geometry.corners(), atol=1e-9)
    assert resized.resized(geometry.shape).same_grid(geometry)


@quick
@given(geometry=geometries(), margin=st.tuples(*[st.integers(0, 5)] * 3))
def test_padding_leaves_the_old_voxels_where_they_were(geometry, margin):
    padded = geometry.padded(margin)
    assert np.allclose(padded.to_ras(margin[::-1]), geometry.origin)
    assert padded.padded(tuple(-m for m in margin)).same_grid(geometry)


@quick
@given(geometry=geometries(), ijk=points)
def test_displacements_in_voxels_and_in_millimetres_are_the_same_move(geometry, ijk):
    start = np.zeros(3)
    u = np.zeros((*geometry.shape, 3))
    u[0, 0, 0] = ijk[0]
    field = DisplacementField.from_voxels(u, geometry)
    assert np.allclose(geometry.to_ras(start) + field.vectors[0, 0, 0], geometry.to_ras(ijk[0]))
    assert np.allclose(field.to_voxels(), u, atol=1e-9)


def test_a_field_of_an_affine_takes_points_where_the_matrix_takes_them():
    geometry = centred((3, 4, 5), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))
    matrix = np.eye(4)
    matrix[:3] = [[1.1, 0.1, 0, 5], [0, 0.9, 0.2, -3], [0.1, 0, 1, 2]]
    field = DisplacementField.from_affine(matrix, geometry)
    moved = geometry.points() + field.vectors
    expected = np.concatenate([geometry.points(), np.ones((3, 4, 5, 1))], axis=-1) @ matrix.T
    assert np.allclose(moved, expected[..., :3], atol=1e-5)


def test_overlap_is_the_fraction_inside_the_other_grid():
    geometry = Geometry((10, 10, 10), np.eye(4))
    beside, half = np.eye(4), np.eye(4)
    beside[0, 3], half[2, 3] = 20, 5
    assert geometry.overlap(geometry) == 1
    assert geometry.overlap(Geometry((10, 10, 10), beside)) == 0
    assert geometry.overlap(Geometry((10, 10, 10), half)) == pytest.approx(0.5, abs=0.05)


def test_same_grid_sees_a_tenth_of_a_voxel_and_a_permutation():
    geometry = centred((5, 5, 5), np.ones(3), np.eye(3))
    moved = geometry.affine.copy()
    moved[0, 3] += 0.1
    assert geometry.same_grid(Geometry((5, 5, 5), geometry.affine))
    assert not geometry.same_grid(Geometry((5, 5, 5), moved))
    assert not geometry.same_grid(centred((5, 5, 5), np.ones(3), np.eye(3)[:, [1, 0, 2]]))
    assert not geometry.same_grid(geometry.resized((5, 5, 6)))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((1, 2), np.eye(4), "three positive sizes"),
        ((1, 2, 0), np.eye(4), "three positive sizes"),
        ((1, 2, 3), np.eye(3), "finite 4x4"),
        ((1, 2, 3), np.full((4, 4), np.nan), "finite 4x4"),
        ((1, 2, 3), np.diag([1.0, 1, 0, 1]), "singular"),
        ((1, 2, 3), np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singu"),
        ((1, 2, 3), np.diag([1.0, 1, 1, 2]), "last row"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, message):
    with pytest.raises(ValueError, match=message):
        Geometry(shape, affine)


def test_tiny_and_huge_voxels_are_not_singular():
    for size in (1e-6, 1e6):
        assert Geometry((2, 2, 2), np.diag([size, size, size, 1])).spacing[0] == size


def test_arrays_must_fit_their_grid():
    geometry = Geometry((2, 3, 4), np.eye(4))
    with pytest.raises(ValueError, match=r"shape \(4, 3, 2\) does not fit"):
        Volume(np.zeros((4, 3, 2)), geometry)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\) does not fit"):
        DisplacementField(np.zeros((2, 3, 4)), geometry)


def test_values_are_read_only_and_leave_their_source_writable():
    array = np.zeros((2, 3, 4))
    volume = Volume(array, Geometry((2, 3, 4), np.eye(4)))
    for frozen in (volume.array, volume.geometry.affine, volume.geometry.spacing):
        with pytest.raises(ValueError, match="read-only"):
            frozen.flat[0] = 1
    array[0, 0, 0] = 1
    assert read_only(array.T).flags.c_contiguous
    with pytest.raises(AttributeError):
        volume.array = array  # type: ignore[misc]


def test_the_analytic_field_is_sampled_in_ras_whatever_the_grid():
    geometry = centred((3, 4, 5), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))
    at = geometry.to_ras([4, 3, 2])
    assert np.allclose(field_on(geometry).vectors[2, 3, 4], displacement(at), atol=1e-6)
