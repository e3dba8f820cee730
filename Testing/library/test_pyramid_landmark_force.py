"""Landmarks pull the field between them, as far as they ask and no further."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.pyramid_pairs import POINTS, SHAPE, SHIFTS, deformed_pair, missed

from RegRefineLib.geometry import Geometry
from RegRefineLib.ops.warp import jacobian_determinant
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.pyramid.descent import refine
from RegRefineLib.refine.pyramid.landmark_force import LandmarkForce, at_points, inverse_points


def test_where_the_images_say_nothing_the_points_decide():
    nothing = torch.zeros((1, 1, *SHAPE))
    pair = Pair(
        nothing, nothing, Geometry(SHAPE, np.eye(4)),
        fixed_points=POINTS, moving_points=POINTS + SHIFTS,
    )  # fmt: skip
    result = refine(pair, pair.zero(), {"levels": "2:40 1:40", "landmarks": 1}, ignore)
    assert float(missed(result.displacement).max()) < 0.5
    assert float(jacobian_determinant(result.displacement).min()) > 0
    still = refine(pair, pair.zero(), {"levels": "2:40 1:40"}, ignore)
    assert float(still.displacement.abs().max()) < 1e-3


def test_true_points_help_images_along():
    pair, truth = deformed_pair()
    points = POINTS + at_points(truth, POINTS)
    marked = Pair(pair.fixed, pair.moving, pair.geometry, fixed_points=POINTS, moving_points=points)

    def error(strength: float) -> float:
        settings = {"levels": "2:10", "landmarks": strength}
        found = refine(marked, pair.zero(), settings, ignore).displacement
        return float((at_points(found - truth, POINTS)).norm(dim=1).mean())

    assert error(1.0) < 0.8 * error(0.0)


def test_a_step_is_no_longer_than_allowed_and_none_where_nothing_is_missing():
    pull = LandmarkForce(POINTS, POINTS + SHIFTS, SHAPE)
    step = pull.update(torch.zeros((1, 3, *SHAPE)), 0.5)
    assert 0.3 < float(step.norm(dim=1).max()) <= 0.5 + 1e-5
    uniform = SHIFTS[:1].T.reshape(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    one = LandmarkForce(POINTS[:1], POINTS[:1] + SHIFTS[:1], SHAPE)
    assert float(one.update(uniform, 0.5).abs().max()) < 1e-5


def test_points_outside_the_grid_do_not_count():
    far = LandmarkForce(torch.tensor([[-5.0, 3.0, 3.0]]), torch.zeros((1, 3)), SHAPE)
    assert not far.update(torch.zeros((1, 3, *SHAPE)), 0.5).any()


def test_points_before_a_start_are_taken_where_they_were():
    _, truth = deformed_pair()
    found = inverse_points(truth, POINTS)
    after = found + at_points(truth, found)
    assert after.numpy() == pytest.approx(POINTS.numpy(), abs=1e-2)
