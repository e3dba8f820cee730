"""Boxes, absent and vanished labels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RegRefineLib.metrics.per_label import Absence, boxes, hd95, masks, measured_by_label
from RegRefineLib.metrics.surface import hausdorff, surface_distances


def labelled(**where):
    array = np.zeros((12, 12, 12), dtype=np.int16)
    for name, (at, side) in where.items():
        array[tuple(slice(a, a + side) for a in at)] = int(name[1:])
    return array


FIXED = labelled(_1=((1, 1, 1), 3), _2=((7, 7, 7), 3), _900=((1, 7, 1), 2))
WARPED = labelled(_1=((1, 1, 3), 3), _900=((1, 7, 1), 2), _4=((7, 1, 1), 2))
MOVING = labelled(_1=((1, 1, 4), 3), _2=((7, 7, 5), 3), _4=((7, 1, 1), 2))
LABELS = [1, 2, 4, 5, 900]


def test_a_box_holds_its_label_and_nothing_more():
    found = boxes(FIXED, LABELS)
    assert found[2] == (slice(7, 10),) * 3
    assert found[900] == (slice(1, 3), slice(7, 9), slice(1, 3))
    assert sorted(found) == [1, 2, 900]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_cut_masks_lose_no_voxel(seed):
    fixed, warped = np.random.default_rng(seed).integers(0, 40, (2, 4, 3, 5))
    for label, a, b in masks(fixed, warped, range(45)):
        assert a.shape == b.shape
        assert a.sum() == (fixed == label).sum()
        assert b.sum() == (warped == label).sum()
        assert (a & b).sum() == ((fixed == label) & (warped == label)).sum()


def test_distances_in_the_box_are_those_of_the_whole_volume():
    found = hd95(FIXED, WARPED, [1, 900], (2.0, 1.0, 5.0))
    assert found[1] == hausdorff(surface_distances(FIXED == 1, WARPED == 1, (2.0, 1.0, 5.0)))
    assert found[1] == 10
    assert found[900] == 0


def test_labels_absent_from_fixed_or_moving_have_no_figure():
    found = hd95(FIXED, WARPED, LABELS, (1, 1, 1), Absence(moving_labels=frozenset({1, 2, 4})))
    assert {label for label, value in found.items() if math.isnan(value)} == {4, 5, 900}


def test_a_vanished_label_counts_by_the_rule_that_is_named():
    moving = frozenset({1, 2})
    spacing = (1, 1, 1)
    assert hd95(FIXED, WARPED, [2], spacing, Absence("infinite", moving)) == {2: math.inf}
    assert math.isnan(hd95(FIXED, WARPED, [2], spacing, Absence("missing", moving))[2])
    assert hd95(FIXED, WARPED, [2], spacing, Absence("unwarped", moving, MOVING)) == {2: 2}


def test_the_measure_sees_each_present_label_once():
    seen = []
    measured_by_label(FIXED, WARPED, LABELS, lambda a, b: seen.append((a.sum(), b.sum())) or 0.0)
    assert seen == [(27, 27), (8, 8)]


def test_rules_that_do_not_exist_or_lack_their_map_are_refused():
    with pytest.raises(ValueError, match="vanished: one of infinite"):
        Absence("zero")
    with pytest.raises(ValueError, match="unwarped"):
        Absence("unwarped")
