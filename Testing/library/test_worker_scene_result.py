"""What the worker makes of a result: arrays that a scene has only to copy."""

from __future__ import annotations

import numpy as np
import pytest
from support.worker_behaviours import result_of

from RegRefineLib import field_padding as taper
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import Job
from RegRefineLib.worker.scene_result import field_of, forward, prepared

GRID = Geometry((6, 7, 8), np.diag([2.0, 2.0, 3.0, 1.0]))
PLACE = np.array([[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, -2.0], [0, 0, 1.0, 9.0], [0, 0, 0, 1.0]])


def waves():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(*GRID.shape, 3)).astype(np.float32) * 0.2
    return DisplacementField(vectors, GRID)


def mapped(mapping, points):
    moved = points + mapping.grid.at(points)
    if mapping.matrix is not None:
        moved = moved @ mapping.matrix[:3, :3].T + mapping.matrix[:3, 3]
    return moved


def through(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


POINTS = GRID.points()[1:-1, 1:-1, 1:-1].reshape(-1, 3)
FIELD = waves().vectors[1:-1, 1:-1, 1:-1].reshape(-1, 3)


@pytest.mark.parametrize("place", [np.eye(4), PLACE], ids=["world", "placed"])
def test_forward_leads_from_the_world_into_the_moving_node(place):
    expected = through(np.linalg.inv(place), POINTS + FIELD)
    np.testing.assert_allclose(
        mapped(forward(waves(), np.eye(4), place), POINTS), expected, atol=1e-5
    )


@pytest.mark.parametrize("place", [None, PLACE], ids=["world", "placed"])
def test_the_field_comes_back_from_what_the_scene_gets(place):
    volume = Volume(np.zeros(GRID.shape, np.float32), GRID)
    result = result_of(volume, Job())
    object.__setattr__(result, "field", waves())
    found = field_of(prepared(result, place), place)
    assert found.geometry.same_grid(GRID)
    np.testing.assert_allclose(found.vectors, waves().vectors, atol=1e-4)


def test_a_large_linear_part_stays_out_of_the_grid(monkeypatch):
    monkeypatch.setattr(taper, "SMALL_GRID_VOXELS", 0)
    far = np.eye(4)
    far[:3, 3] = (90.0, -70.0, 50.0)
    field = DisplacementField(waves().vectors + far[:3, 3].astype(np.float32), GRID)
    mapping = forward(field, far, np.eye(4))
    np.testing.assert_array_equal(mapping.matrix, far)
    np.testing.assert_allclose(
        mapped(mapping, POINTS), through(far, POINTS + FIELD), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("largest", "kind"), [(255, np.uint8), (256, np.int16), (14175, np.int16), (40000, np.int32)]
)
def test_labels_are_as_narrow_as_they_can_be_and_keep_their_values(largest, kind):
    array = np.zeros(GRID.shape, np.int64)
    array[1, 2, 3], array[2, 2, 2] = largest, 3
    result = result_of(Volume(np.zeros(GRID.shape, np.float32), GRID), Job())
    object.__setattr__(result, "warped_labels", Volume(array, GRID))
    ready = prepared(result)
    assert ready.warped_labels.array.dtype == kind
    np.testing.assert_array_equal(ready.warped_labels.array, array)
    assert ready.label_values == (3, largest)


def test_lengths_are_made_where_they_are_wanted():
    result = result_of(Volume(np.zeros(GRID.shape, np.float32), GRID), Job(), 2.0)
    assert prepared(result).displacement is None
    lengths = prepared(result, lengths=True).displacement.array
    assert lengths.dtype == np.float32
    np.testing.assert_allclose(lengths, 2.0 * np.sqrt(3.0), rtol=1e-6)
