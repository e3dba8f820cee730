from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from support.analytic import (
    ORIENTATIONS,
    centred,
    displacement,
    field_on,
    geometries,
    inside,
    intensity,
    rotation,
    volume_on,
)

from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.resample import antialiased, coarser, downsampled, resample, smoothed

quick = settings(max_examples=25, deadline=None, derandomize=True)


def random_affine(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(rng.uniform(-0.3, 0.3, 3)) @ np.diag(rng.uniform(0.9, 1.1, 3))
    matrix[:3, 3] = rng.uniform(-3, 3, 3)
    return matrix


@quick
@given(source=geometries(extent_mm=34), target=geometries(), grid=geometries(extent_mm=40))
def test_a_field_on_any_grid_brings_the_value_of_the_moved_point(source, target, grid):
    moved = target.points() + displacement(target.points())
    known = inside(source, moved) & inside(grid, target.points())
    got = resample(volume_on(source), target, field_on(grid)).array
    assert known.mean() > 0.1
    assert np.abs(got - intensity(moved))[known].max() < 0.15


@quick
@given(source=geometries(extent_mm=40), target=geometries())
def test_a_matrix_takes_target_points_to_source_points(source, target):
    matrix = random_affine(source.shape[0])
    moved = target.points() @ matrix[:3, :3].T + matrix[:3, 3]
    known = inside(source, moved, margin=3)  # splines see the image mirrored at its rim
    for interpolation, tolerance in (("linear", 0.15), ("bspline", 0.02)):
        got = resample(volume_on(source), target, matrix, interpolation).array
        assert np.abs(got - intensity(moved))[known].max(initial=0) < tolerance


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
@pytest.mark.parametrize("through_field", [False, True])
def test_the_same_grid_gives_the_same_values(interpolation, through_field):
    geometry = centred((5, 6, 7), np.array([1.0, 2, 3]), rotation(np.array([0.2, 0.5, -0.4])))
    volume = volume_on(geometry)
    zero = DisplacementField(np.zeros((5, 6, 7, 3), np.float32), geometry)
    got = resample(volume, geometry, zero if through_field else None, interpolation)
    assert got.array.dtype == np.float32
    assert np.allclose(got.array, volume.array, rtol=0, atol=1e-4)


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_reorienting_only_permutes_and_flips_voxels(direction):
    volume = volume_on(centred((4, 5, 6), np.array([2.0, 2, 2]), np.eye(3)))
    sizes = np.abs(direction.T @ [6, 5, 4]).astype(int)
    target = centred(tuple(sizes[::-1]), np.array([2.0, 2, 2]), direction)
    got = resample(volume, target, None, "nearest")
    assert np.array_equal(np.sort(got.array.ravel()), np.sort(volume.array.ravel()))
    assert np.allclose(got.array, intensity(target.points()), atol=1e-4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.int64, ">i2"])
@pytest.mark.parametrize("through_field", [False, True])
def test_nearest_keeps_the_type_and_any_number_of_labels(dtype, through_field):
    geometry = centred((9, 10, 11), np.array([1.0, 1, 1]), np.eye(3))
    kinds = 2 if dtype is bool else min(np.iinfo(np.dtype(dtype)).max, 990)
    values = np.arange(990).reshape(9, 10, 11) % kinds
    labels = Volume(values.astype(dtype), geometry)
    shift = np.zeros((9, 10, 11, 3), np.float32)
    shift[..., 0] = 1.0
    matrix = np.eye(4)
    matrix[0, 3] = 1.0
    mapping = DisplacementField(shift, geometry) if through_field else matrix
    got = resample(labels, geometry, mapping, "nearest")
    assert got.array.dtype == labels.array.dtype
    assert np.array_equal(got.array[:, :, :-1], labels.array[:, :, 1:])
    assert not got.array[:, :, -1].any()


def test_outside_holds_the_given_value_and_starts_half_a_voxel_out():
    volume = Volume(np.full((3, 3, 3), 7.0, np.float32), Geometry((3, 3, 3), np.eye(4)))
    target = Geometry.from_parts((1, 1, 8), [0.4, 1, 1], np.eye(3), [-0.85, 1, 1])
    got = resample(volume, target, outside=-1000.0).array.ravel()
    assert np.array_equal(got, [-1000, 7, 7, 7, 7, 7, 7, 7])


def test_beyond_its_grid_a_field_goes_on_with_its_border_value():
    volume = volume_on(centred((20, 20, 20), np.array([2.0, 2, 2]), np.eye(3)))
    small = centred((3, 3, 3), np.array([1.0, 1, 1]), np.eye(3))
    shift = DisplacementField(np.broadcast_to([3.0, 0, -2], (3, 3, 3, 3)), small)
    target = centred((9, 9, 9), np.array([2.0, 2, 2]), np.eye(3))
    expected = intensity(target.points() + np.array([3.0, 0, -2]))
    assert np.abs(resample(volume, target, shift).array - expected).max() < 0.1


def test_sheared_grids_can_be_resampled():
    affine = np.eye(4)
    affine[0, 1] = 0.4
    sheared = Geometry((20, 20, 20), affine)
    inner = Geometry.from_parts((8, 8, 8), [1, 1, 1], np.eye(3), [9, 5, 5])
    assert np.abs(resample(volume_on(sheared), inner).array - intensity(inner.points())).max() < 0.1


def test_unknown_interpolations_and_mappings_are_named():
    volume = volume_on(Geometry((2, 2, 2), np.eye(4)))
    with pytest.raises(ValueError, match="one of linear, nearest, bspline, sinc, got 'x'"):
        resample(volume, volume.geometry, None, "x")
    with pytest.raises(ValueError, match="mapping: a field or a 4x4"):
        resample(volume, volume.geometry, np.eye(3))


def blob(geometry: Geometry, sigma_mm: float) -> np.ndarray:
    return np.exp(-((geometry.points() - geometry.centre) ** 2).sum(-1) / (2 * sigma_mm**2))


def test_smoothing_is_in_millimetres_on_anisotropic_oblique_grids():
    grid = centred((31, 41, 61), np.array([0.8, 1.3, 1.9]), rotation(np.array([0.3, 0.2, 0.1])))
    got = smoothed(Volume(blob(grid, 4.0), grid), 3.0).array
    expected = blob(grid, 5.0) * (4.0 / 5.0) ** 3
    assert np.abs(got - expected).max() < 0.003


def test_smoothing_keeps_a_constant_up_to_the_rim():
    volume = Volume(np.full((4, 5, 6), 3.0, np.float32), Geometry((4, 5, 6), np.eye(4)))
    assert np.allclose(smoothed(volume, 2.0).array, 3.0, atol=1e-5)


def test_thinning_out_removes_stripes_that_the_coarse_grid_cannot_show():
    fine = Geometry((32, 32, 32), np.diag([1.0, 1, 1, 1]))
    stripes = np.broadcast_to((-1.0) ** np.arange(32), (32, 32, 32))
    coarse = fine.resized((32, 32, 8))
    plain = resample(
        Volume(stripes, fine),
        Geometry.from_parts((32, 32, 8), [4, 1, 1], np.eye(3), [0, 0, 0]),
        None,
        "nearest",
    )
    assert np.abs(plain.array).min() == 1.0
    kept = resample(antialiased(Volume(stripes, fine), coarse), coarse)
    assert np.abs(kept.array[:, :, 1:-1]).max() < 0.01


def test_no_smoothing_along_axes_as_fine_as_the_target():
    source = Geometry.from_parts((8, 16, 16), [1, 1, 4], np.eye(3), [0, 0, 0])
    rng = np.random.default_rng(0)
    volume = Volume(rng.random((8, 16, 16), dtype=np.float32), source)
    assert np.array_equal(antialiased(volume, source).array, volume.array)
    target = Geometry.from_parts((8, 16, 8), [2, 1, 4], np.eye(3), [0, 0, 0])
    smooth = antialiased(volume, target).array
    assert np.allclose(smooth.mean(axis=2), volume.array.mean(axis=2), atol=0.1)
    assert smooth.std(axis=2).mean() < 0.8 * volume.array.std(axis=2).mean()


@pytest.mark.parametrize("direction", ORIENTATIONS[::7])
def test_smoothing_for_a_coarse_axis_follows_that_axis_through_orientation_and_matrix(direction):
    """A target coarse along body x smooths the source along the index axis that runs along x."""
    source = centred((16, 16, 16), np.array([1.0, 1, 1]), direction)
    target = centred((16, 16, 4), np.array([4.0, 1, 1]), np.eye(3))
    volume = Volume(np.random.default_rng(1).random((16, 16, 16), dtype=np.float32), source)
    axis_ijk = int(np.abs(direction[0]).argmax())
    smooth = antialiased(volume, target).array
    spread = [float(np.diff(smooth, axis=2 - a).std()) for a in range(3)]
    assert int(np.argmin(spread)) == axis_ijk
    turn = np.eye(4)
    turn[:3, :3] = rotation(np.array([0, 0, np.pi / 2]))  # target x lies along source y
    smooth = antialiased(volume, target, turn).array
    spread = [float(np.diff(smooth, axis=2 - a).std()) for a in range(3)]
    assert int(np.argmin(spread)) == int(np.abs(direction[1]).argmax())


def test_downsampling_keeps_the_block_of_space_and_never_refines():
    grid = centred((10, 40, 41), np.array([1.0, 1.5, 5]), rotation(np.array([0.1, 0.2, 0.3])))
    small = downsampled(volume_on(grid), 2.0)
    assert small.array.shape == (10, 30, 20)
    assert np.allclose(np.sort(small.geometry.corners(), 0), np.sort(grid.corners(), 0))
    assert coarser(grid, 0.5).same_grid(grid)
    assert np.abs(small.array - intensity(small.geometry.points()))[1:-1, 2:-2, 2:-2].max() < 0.3
