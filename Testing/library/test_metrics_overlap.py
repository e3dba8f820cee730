"""Dice of hand-counted maps, in every variant."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RegRefineLib.metrics.overlap import VARIANTS, count_labels, dice, mean

# label 1: 4 and 2 voxels, 2 in common; 2: fixed only; 3: warped only
FIXED = np.array([1, 1, 1, 1, 2, 2, 0, 0]).reshape(2, 2, 2)
WARPED = np.array([1, 1, 0, 0, 0, 0, 3, 0]).reshape(2, 2, 2)


def test_counts_are_those_of_the_voxels():
    counts = count_labels(FIXED, WARPED)
    assert counts.labels == [1, 2, 3]
    assert counts.fixed == {0: 2, 1: 4, 2: 2, 3: 0}
    assert counts.warped == {0: 5, 1: 2, 2: 0, 3: 1}
    assert counts.both == {0: 1, 1: 2, 2: 0, 3: 0}


def test_learn2reg_leaves_out_labels_absent_from_fixed_or_moving():
    counts = count_labels(FIXED, WARPED)
    values = dice(counts, moving_labels=[1, 3, 4])
    assert values[1] == pytest.approx(2 / 3)
    assert all(math.isnan(values[label]) for label in (2, 3, 4))
    assert mean(values) == pytest.approx(2 / 3)


def test_learn2reg_counts_a_vanished_label_as_zero():
    values = dice(count_labels(FIXED, WARPED), moving_labels=[1, 2])
    assert values[2] == 0
    assert mean({k: v for k, v in values.items() if k < 3}) == pytest.approx(1 / 3)


def test_reg_ttr_counts_absent_labels_as_zero():
    values = dice(count_labels(FIXED, WARPED), range(1, 5), variant="reg-ttr")
    assert values == {1: pytest.approx(4 / (6 + 1e-5), rel=1e-12), 2: 0, 3: 0, 4: 0}
    assert mean(values) == pytest.approx(1 / (6 + 1e-5))


def test_corrmlp_takes_the_labels_of_either_map():
    values = dice(count_labels(FIXED, WARPED), variant="corrmlp")
    assert list(values) == [1, 2, 3]
    assert mean(values) == pytest.approx(2 / 9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_map_agrees_with_itself(variant):
    values = dice(count_labels(FIXED, FIXED), variant=variant)
    assert list(values) == [1, 2]
    assert all(v == pytest.approx(1, abs=1e-5) for v in values.values())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=8, max_size=8))
def test_one_pass_gives_what_a_pass_per_label_gives(pairs):
    fixed, warped = (np.array(part).reshape(2, 2, 2) for part in zip(*pairs, strict=True))
    for label, value in dice(count_labels(fixed, warped)).items():
        a, b = fixed == label, warped == label
        if a.any():
            assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        else:
            assert math.isnan(value)


def test_dice_is_symmetric_in_its_maps():
    assert dice(count_labels(FIXED, WARPED), variant="corrmlp") == dice(
        count_labels(WARPED, FIXED), variant="corrmlp"
    )


def test_mean_of_nothing_is_nan():
    assert math.isnan(mean({}))
    assert math.isnan(mean({1: math.nan}))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="shape"):
        count_labels(FIXED, WARPED[:1])
    with pytest.raises(ValueError, match="variant: one of learn2reg"):
        dice(count_labels(FIXED, WARPED), variant="best")
