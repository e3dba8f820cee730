"""Cuts look the same however the voxels are stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.plots.slices import planes, telling_voxel

ORIENTATIONS = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]
TALL = Geometry((7, 5, 4), np.diag([2.0, 3.0, 4.0, 1.0]))  # RAS: 8 mm wide, 15 deep, 28 high


def stored(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Geometry, np.ndarray]:
    """TALL's voxels, numbered, in another order of axes and directions; axes of (i, j, k)."""
    array = np.arange(TALL.voxel_count).reshape(TALL.shape).transpose(2, 1, 0)  # [i, j, k]
    index = np.eye(4)
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        index[:3, new] = 0
        index[old, new] = sign
    index[:3, 3] = [array.shape[old] - 1 if signs[order.index(old)] < 0 else 0 for old in range(3)]
    moved = array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    turned = np.ascontiguousarray(moved.transpose(2, 1, 0))
    return Geometry(turned.shape, TALL.affine @ index), turned


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orientations_give_the_same_radiological_cuts(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    geometry, array = stored(order, signs)
    middle = geometry.to_index(TALL.to_ras([2, 3, 4]))[::-1].round().astype(int)
    axial, coronal, sagittal = planes(geometry, tuple(middle))
    numbers = np.arange(TALL.voxel_count).reshape(TALL.shape)
    assert np.array_equal(axial.cut(array), numbers[4, ::-1, ::-1])
    assert np.array_equal(coronal.cut(array), numbers[::-1, 3, ::-1])
    assert np.array_equal(sagittal.cut(array), numbers[::-1, ::-1, 2])
    assert (axial.letters, coronal.letters, sagittal.letters) == ("APRL", "SIRL", "SIAP")
    np.testing.assert_allclose([axial.size_mm, coronal.size_mm], [(15, 8), (28, 8)])
    np.testing.assert_allclose(sagittal.size_mm, (28, 15))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_the_points_of_a_cut_are_those_of_its_voxels(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    geometry, _ = stored(order, signs)
    for plane in planes(geometry, (1, 1, 1)):
        np.testing.assert_allclose(plane.points(), plane.cut(geometry.points()))


@given(st.floats(-25, 25), st.floats(-25, 25))
def test_an_oblique_volume_is_named_after_the_nearest_axes(turn: float, tilt: float) -> None:
    a, b = np.deg2rad([turn, tilt])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    geometry = Geometry.from_parts((7, 5, 4), (2, 3, 4), about_z @ about_x, (0, 0, 0))
    assert [plane.axis for plane in planes(geometry, (0, 0, 0))] == [0, 1, 2]


@pytest.mark.parametrize("index", [0, 3, 6])
def test_a_slab_holds_the_cut_and_its_neighbours(index: int) -> None:
    array = np.random.default_rng(0).random((7, 5, 4, 3))
    plane = planes(TALL, (index, 0, 0))[0]
    slab, within = plane.slab(array)
    assert slab.shape[0] == (2 if index in (0, 6) else 3)
    assert np.array_equal(within.cut(slab), plane.cut(array))


def test_the_telling_voxel_lies_where_the_labels_are() -> None:
    labels = np.zeros((9, 9, 9), np.int16)
    labels[2, 1:6, 3:8] = 1
    labels[3, 4, 4] = 2
    grid = Geometry((9, 9, 9), np.eye(4))
    k, j, i = telling_voxel(Volume(labels, grid), Volume(labels, grid))
    assert (k, j, i) == (2, 4, 4)


def test_without_labels_the_telling_voxel_is_the_middle_of_the_bright_part() -> None:
    image = np.zeros((9, 9, 9))
    image[1:4, 5:8, 3:6] = 1.0
    grid = Geometry((9, 9, 9), np.eye(4))
    assert telling_voxel(Volume(image, grid)) == (2, 6, 4)
    assert telling_voxel(Volume(np.zeros((9, 9, 9)), grid)) == (4, 4, 4)
