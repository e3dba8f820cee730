"""A linear part out of the ordinary is doubted in a sentence, an ordinary one is not."""

import numpy as np
import pytest

from RegRefineLib.linear.plausible import doubts


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def test_ordinary_maps_are_not_doubted():
    for matrix in (np.eye(4), turned(40), turned(20) @ np.diag([0.85, 1.1, 1.2, 1])):
        matrix[:3, 3] = [300, -20, 5]
        assert doubts(matrix) == []


@pytest.mark.parametrize("degrees", [50, 90, 180])
def test_a_large_turn_is_named_in_degrees_whatever_the_scales(degrees):
    (sentence,) = doubts(turned(degrees) @ np.diag([0.9, 1.1, 1.0, 1]))
    assert f"{degrees} degrees" in sentence


@pytest.mark.parametrize("scale", [0.75, 1.3])
def test_a_large_scale_is_named_also_in_a_turned_frame(scale):
    (sentence,) = doubts(turned(-30) @ np.diag([1.0, scale, 1.0, 1]) @ turned(30))
    assert f"{scale:.2f}" in sentence


def test_a_mirror_is_named():
    assert "mirrors" in doubts(np.diag([-1.0, 1, 1, 1]))[0]
