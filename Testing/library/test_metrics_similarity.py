"""Normalised cross-correlation of images with a known relation."""

import math

import numpy as np
import pytest

from RegRefineLib.metrics.similarity import ncc

IMAGE = np.random.default_rng(1).random((4, 5, 6)).astype(np.float32)


def test_it_ignores_scale_and_offset_and_keeps_the_sign():
    assert ncc(IMAGE, 3 * IMAGE + 100) == pytest.approx(1, abs=1e-6)
    assert ncc(IMAGE, 7 - IMAGE) == pytest.approx(-1, abs=1e-6)


def test_it_is_pearsons_coefficient():
    other = np.random.default_rng(2).random(IMAGE.shape)
    wanted = np.corrcoef(IMAGE.ravel(), other.ravel())[0, 1]
    assert ncc(IMAGE, other) == pytest.approx(wanted)


def test_only_the_mask_counts():
    mask = np.zeros(IMAGE.shape)
    mask[:, :2] = 1
    spoilt = IMAGE.copy()
    spoilt[:, 2:] = -1000
    assert ncc(IMAGE, spoilt, mask) == pytest.approx(1)


def test_a_constant_image_or_an_empty_mask_has_no_correlation():
    assert math.isnan(ncc(IMAGE, np.full(IMAGE.shape, 0.1, dtype=np.float32)))
    assert math.isnan(ncc(IMAGE, IMAGE, np.zeros(IMAGE.shape)))


def test_integers_do_not_overflow():
    image = (np.arange(60).reshape(3, 4, 5) * 500).astype(np.int16)
    assert ncc(image, image) == pytest.approx(1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        ncc(IMAGE, IMAGE[1:])
