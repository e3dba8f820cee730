"""The report: what is in it, and that JSON can hold it."""

import json

import numpy as np
import pytest

from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.metrics.report import Images, Landmarks, plain, report

SHAPE = (10, 12, 14)
GEOMETRY = Geometry.from_parts(SHAPE, (0.7, 1.3, 5.0), np.eye(3), (0, 0, 0))


def volume(array):
    return Volume(np.asarray(array), GEOMETRY)


def labelled(*blocks):
    array = np.zeros(SHAPE, dtype=np.uint8)
    for label, at in blocks:
        array[tuple(slice(a, a + 3) for a in at)] = label
    return volume(array)


FIXED = labelled((1, (1, 1, 1)), (2, (5, 1, 1)), (3, (1, 6, 6)))
WARPED = labelled((1, (1, 1, 2)), (4, (6, 6, 6)), (3, (2, 6, 6)))


def test_nothing_given_reports_nothing():
    assert report() == {}


def test_identical_labels_are_perfect():
    found = report(FIXED, FIXED)
    assert found["dice"] == {"mean": 1, "1": 1, "2": 1, "3": 1}
    assert found["dice_absent_zero"] == pytest.approx(1, abs=1e-6)
    assert found["hd95_mm"] == {"mean": 0, "1": 0, "2": 0, "3": 0}
    assert found["assd_mm"] == 0
    assert found["vanished_labels"] == []


def test_distances_use_the_spacing_of_the_axis_that_moved():
    found = report(FIXED, WARPED)
    assert found["hd95_mm"]["1"] == pytest.approx(0.7)  # one voxel along i
    assert found["hd95_mm"]["3"] == pytest.approx(5.0)  # one voxel along k


def test_vanished_and_absent_labels_are_told_apart():
    found = report(FIXED, WARPED, moving_labels=[1, 2, 4])
    assert found["dice"]["1"] == pytest.approx(2 / 3)
    assert found["dice"]["2"] == 0  # the warp lost it
    assert found["dice"]["3"] is None  # the moving map never had it
    assert found["dice"]["4"] is None
    assert found["dice"]["mean"] == pytest.approx(1 / 3)
    assert found["dice_absent_zero"] == pytest.approx((2 / 3 + 2 / 3) / 4, abs=1e-5)
    assert found["vanished_labels"] == [2]
    assert found["hd95_mm"]["2"] is None
    assert found["hd95_mm"]["mean"] == pytest.approx(0.7)


def test_moving_labels_may_be_a_map_on_another_grid():
    moving = Volume(np.array([[[1, 2, 0]]]), Geometry((1, 1, 3), np.eye(4)))
    found = report(FIXED, WARPED, moving_labels=moving)
    assert found["dice"]["3"] is None
    assert found["vanished_labels"] == [2]


def test_a_field_reports_folds_spread_and_the_longest_displacement():
    vectors = np.zeros((*SHAPE, 3))
    vectors[3, 4, 5] = [3, 4, 0]
    found = report(field=DisplacementField(vectors, GEOMETRY))
    assert found["largest_mm"] == pytest.approx(5)
    assert found["folds_percent"] > 0
    assert found["sdlogj"] > 0
    assert found["sd_log_jacobian"] > found["sdlogj"]
    still = report(field=DisplacementField(np.zeros((*SHAPE, 3)), GEOMETRY))
    assert set(still) == set(found)
    assert not any(still.values())


def test_roughness_inside_is_within_the_mask_or_the_body():
    vectors = np.zeros((*SHAPE, 3))
    vectors[3, 4, 5] = [0.3, 0.3, 0]
    field = DisplacementField(vectors, GEOMETRY)
    shown = np.zeros(SHAPE)
    shown[5:9, 8:11, 8:12] = 1  # away from what moves
    images = Images(volume(shown), volume(shown))
    found = report(field=field, images=images)
    assert found["sd_log_jacobian"] > 0 == found["sd_log_jacobian_inside"]
    mask = volume((shown == 0).astype(np.uint8))
    assert report(field=field, images=images._replace(mask=mask))["sd_log_jacobian_inside"] > 0


def test_images_and_landmarks_are_reported_where_given():
    image = volume(np.random.default_rng(0).random(SHAPE))
    field = DisplacementField(np.ones((*SHAPE, 3)) * [1.0, 0, 0], GEOMETRY)
    p = GEOMETRY.to_ras([[3, 3, 3], [5, 6, 7]])
    points = Landmarks(p, p + np.array([1, 2, 0]))
    found = report(field=field, images=Images(image, image), points=points)
    assert found["ncc"] == pytest.approx(1)
    assert found["tre_mm"] == pytest.approx(2)
    assert "dice" not in found


def test_everything_goes_through_strict_json():
    flat = volume(np.zeros(SHAPE))
    empty = labelled()
    field = DisplacementField(np.zeros((*SHAPE, 3), dtype=np.float32), GEOMETRY)
    for found in (
        report(FIXED, WARPED, field, moving_labels=[1, 2, 4], images=Images(flat, flat)),
        report(empty, empty, field),
        report(FIXED, empty, points=Landmarks(np.zeros((0, 3)), np.zeros((0, 3))), field=field),
    ):
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_numbers_json_cannot_hold_become_none():
    assert plain(float("nan")) is None
    assert plain(float("inf")) is None
    assert plain(np.float32(0.5)) == 0.5


def test_masked_correlation_is_of_the_mask():
    image = np.random.default_rng(0).random(SHAPE)
    spoilt, mask = image.copy(), np.zeros(SHAPE)
    spoilt[5:], mask[:5] = -9, 1
    found = report(images=Images(volume(image), volume(spoilt), volume(mask)))
    assert found["ncc"] == pytest.approx(1)
