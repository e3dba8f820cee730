"""A symmetric descent gives inverse fields for exchanged images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.pyramid_pairs import (
    POINTS,
    QUICK,
    SHAPE,
    SHIFTS,
    ball,
    blank_pair,
    deformed_pair,
    dice,
    error,
    inner,
    missed,
)

from RegRefineLib.ops.warp import compose, invert, jacobian_determinant
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.pyramid.descent import refine
from RegRefineLib.refine.pyramid.symmetric import across, inverse


def exchanged(pair: Pair) -> Pair:
    return replace(
        pair,
        fixed=pair.moving,
        moving=pair.fixed,
        fixed_mask=pair.moving_mask,
        moving_mask=pair.fixed_mask,
        fixed_labels=pair.moving_labels,
        moving_labels=pair.fixed_labels,
    )


def inconsistency(pair: Pair, settings: dict) -> float:
    """Return the mean length in voxels of there and back again, away from the border."""
    there = refine(pair, pair.zero(), settings, ignore).displacement
    back = refine(exchanged(pair), pair.zero(), settings, ignore).displacement
    return float(inner(compose(there, back)).norm(dim=1).mean())


@pytest.fixture(scope="module")
def symmetric():
    pair, truth = deformed_pair()
    return refine(pair, pair.zero(), {**QUICK, "symmetric": True}, ignore).displacement, truth


def test_a_known_deformation_is_found_without_folds(symmetric):
    found, truth = symmetric
    assert error(found, truth) < 0.35 * error(torch.zeros_like(truth), truth)
    assert float(jacobian_determinant(found).min()) > 0


def test_exchanged_images_give_the_inverse_field_which_they_do_not_otherwise():
    pair, _ = deformed_pair()
    settings = {"levels": "2:12 1:4"}
    without = inconsistency(pair, settings)
    assert inconsistency(pair, {**settings, "symmetric": True}) < min(0.03, 0.2 * without)


def test_masks_and_labels_are_exchanged_with_the_images():
    pair, _ = deformed_pair(
        fixed_mask=(ball((18, 20, 16), 14) > 0).float(),
        fixed_labels=ball((18, 20, 16), 8),
        moving_labels=ball((20, 20, 16), 8),
    )
    settings = {"levels": "2:10", "labels": 0.5, "symmetric": True}
    assert inconsistency(pair, settings) < 0.05


def test_labels_and_landmarks_work_from_the_middle():
    pair = blank_pair(ball((15, 18, 16), 8), ball((20, 18, 16), 7))
    settings = {"levels": "2:20 1:10", "patience_steps": 0, "symmetric": True}
    found = refine(pair, pair.zero(), {**settings, "labels": 1}, ignore).displacement
    assert dice(pair, found, 1) > 0.9
    marked = replace(pair, fixed_points=POINTS, moving_points=POINTS + SHIFTS)
    found = refine(marked, pair.zero(), {**settings, "landmarks": 1}, ignore).displacement
    assert float(missed(found).max()) < 0.6


def test_the_inverse_is_as_good_as_that_of_many_damped_rounds():
    _, truth = deformed_pair()
    found = inner(compose(truth, inverse(truth)))
    patient = inner(compose(truth, invert(truth, steps=60, tolerance_voxels=0.0)))
    assert float(found.abs().max()) < 5e-3
    assert float(found.abs().mean()) < 2 * float(patient.abs().mean()) + 1e-5


def test_two_like_displacements_lead_nowhere():
    _, truth = deformed_pair()
    assert float(inner(across(truth, truth)).abs().mean()) < 0.01
    nothing = torch.zeros((1, 3, *SHAPE))
    torch.testing.assert_close(across(truth, nothing), truth)
