"""Labels and their ranks, whatever the numbers are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from RegRefineLib.metrics.label_maps import as_labels, labels_of, ranks, values_of

LABELS = st.lists(st.integers(-5, 12) | st.just(10**9) | st.just(2035), min_size=1, max_size=30)


@given(LABELS)
def test_values_are_those_of_numpy_unique(values):
    array = np.array(values).reshape(-1, 1, 1)
    assert values_of(array) == np.unique(array).tolist()
    assert labels_of(array) == [v for v in np.unique(array).tolist() if v != 0]


@given(LABELS, st.sets(st.integers(-5, 12) | st.just(2035) | st.just(10**9)))
def test_a_rank_finds_its_label_and_zero_marks_the_others(values, wanted):
    array, wanted = np.array(values).reshape(-1, 1, 1), sorted(wanted)
    for value, rank in zip(values, ranks(array, wanted).ravel(), strict=True):
        assert (wanted[rank - 1] == value) if rank else (value not in wanted)


def test_small_unsigned_labels_do_not_wrap():
    array = np.array([[[250, 255, 3]]], dtype=np.uint8)
    assert ranks(array, [3, 255, 300]).tolist() == [[[0, 2, 1]]]


def test_whole_numbers_in_float_are_labels_and_fractions_are_not():
    assert as_labels(np.array([1.0, 2.0])).dtype == np.int64
    for wrong in ([0.5], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="whole numbers"):
            as_labels(np.array(wrong), "fixed")


def test_an_empty_map_has_no_labels():
    assert values_of(np.zeros((0, 3, 3), dtype=np.uint8)) == []
