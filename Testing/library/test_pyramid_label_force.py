"""Segmentations steer where they are told to, by the labels both have, without folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pyramid_pairs import QUICK, SHAPE, ball, blank_pair, deformed_pair, dice

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry
from RegRefineLib.ops.warp import jacobian_determinant, warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.pyramid.descent import refine
from RegRefineLib.refine.pyramid.label_force import UNKNOWN, numbered, towards, warped


def test_where_the_images_say_nothing_the_labels_decide():
    fixed = 7 * ball((15, 18, 16), 8) + 2 * ball((27, 30, 16), 4)
    moving = 7 * ball((20, 18, 16), 7) + 2 * ball((27, 26, 16), 4)
    pair = blank_pair(fixed, moving)
    settings = {"levels": "4:20 2:20 1:20", "patience_steps": 0}
    still = refine(pair, pair.zero(), settings, ignore).displacement
    assert not still.any()
    found = refine(pair, pair.zero(), {**settings, "labels": 1}, ignore).displacement
    for label in (2, 7):
        assert dice(pair, pair.zero(), label) < 0.75
        assert dice(pair, found, label) > 0.9
    assert float(jacobian_determinant(found).min()) > 0


def test_true_labels_help_the_images_inside_and_about_them():
    pair, truth = deformed_pair()
    moving = ball((18, 20, 16), 9) + ball((18, 20, 16), 5)
    labelled = replace(
        pair, moving_labels=moving, fixed_labels=warp(moving.float(), truth, mode="nearest").byte()
    )

    def error(strength: float) -> float:
        settings = {"levels": "2:4", "labels": strength}
        found = refine(labelled, pair.zero(), settings, ignore).displacement
        return float((found - truth)[0, :, 8:-8, 10:-10, 6:-6].norm(dim=0).mean())

    assert error(0.3) < error(0.0)


def test_labels_that_are_off_change_nothing_at_all():
    pair, _ = deformed_pair()
    labelled = replace(pair, fixed_labels=ball((9, 9, 9), 5), moving_labels=ball((20, 9, 9), 5))
    one, other = (refine(p, p.zero(), QUICK, ignore) for p in (pair, labelled))
    assert torch.equal(one.displacement, other.displacement)
    assert one.history == other.history
    assert one.remarks == other.remarks == ()


def test_beyond_the_moving_image_labels_say_nothing():
    there = torch.zeros((1, 1, *SHAPE))
    there[..., :20, :, :] = 1.0
    fixed = ball((9, 12, 16), 5) + 2 * ball((27, 30, 16), 4)
    pair = blank_pair(fixed, ball((11, 12, 16), 5) + 2 * ball((27, 26, 16), 4))
    pair = replace(pair, moving_mask=there)
    found = refine(pair, pair.zero(), {"levels": "1:5", "labels": 1}, ignore).displacement.abs()
    assert float(found[..., :20, :, :].max()) > 0.5
    assert float(found[..., 23:, :, :].max()) < 1e-2


def test_what_guided_is_said():
    pair = blank_pair(ball((9, 9, 9), 5), ball((11, 9, 9), 5))
    (remark,) = refine(pair, pair.zero(), {"levels": "2:1", "labels": 0.5}, ignore).remarks
    assert "guided" in remark
    assert "no proof" in remark


def test_a_start_is_gone_on_from():
    pair = blank_pair(ball((15, 18, 16), 8), ball((21, 18, 16), 8))
    start = pair.zero()
    start[:, 0] = 6.0
    found = refine(pair, start, {"levels": "1:10", "labels": 1}, ignore).displacement
    assert float((found - start).abs().max()) < 1e-3


def test_nothing_is_asked_for_where_labels_agree_or_are_unknown():
    own = ball((15, 18, 16), 8)[0, 0].to(torch.int16)
    assert not towards(own, own).any()
    assert not towards(own, torch.full_like(own, UNKNOWN)).any()


def test_a_wrong_voxel_goes_straight_to_its_label():
    own, wanted = (torch.zeros(SHAPE, dtype=torch.int16) for _ in range(2))
    own[20:], wanted[19:] = 3, 3
    direction = towards(own, wanted)
    assert bool((direction[0, 0, 19] == 1.0).all())
    assert float(direction.abs().sum()) == 40 * 32


def test_labels_are_warped_where_they_lie_on_a_coarser_grid():
    labels = torch.arange(6, dtype=torch.int16).view(6, 1, 1).expand(6, 2, 2)
    shift = torch.zeros((1, 3, 3, 2, 2))
    assert torch.equal(labels[[0, 2, 4]], warped(labels, shift))
    shift[:, 0] = 1.0
    assert torch.equal(labels[[2, 4, 5]], warped(labels, shift))


def test_only_labels_that_both_maps_have_are_known():
    fixed = torch.tensor([0, 5, 900000, 4, -3]).view(1, 1, 5, 1, 1)
    moving = torch.tensor([5, 900000, 0, 6, -3]).view(1, 1, 5, 1, 1)
    pair = numbered(Pair(fixed.float(), moving.float(), Geometry((5, 1, 1), np.eye(4)),
                         fixed_labels=fixed, moving_labels=moving))  # fmt: skip
    assert pair.fixed_labels.flatten().tolist() == [0, 1, 2, UNKNOWN, UNKNOWN]
    assert pair.moving_labels.flatten().tolist() == [1, 2, 0, UNKNOWN, UNKNOWN]


def test_labels_that_are_missing_or_strange_to_each_other_are_an_error():
    pair, _ = deformed_pair()
    with pytest.raises(RegRefineError, match="labels: segmentations of both"):
        refine(pair, pair.zero(), {"labels": 1}, ignore)
    strange = blank_pair(ball((9, 9, 9), 5), 2 * ball((9, 9, 9), 5))
    with pytest.raises(RegRefineError, match="in common"):
        refine(strange, strange.zero(), {"labels": 1}, ignore)


@pytest.mark.parametrize("name", ["labels", "landmarks"])
def test_a_strength_beyond_its_range_is_named(name):
    pair, _ = deformed_pair()
    with pytest.raises(RegRefineError, match=name):
        refine(pair, pair.zero(), {name: 1.5}, ignore)
