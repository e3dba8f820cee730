"""A level sees the images, masks and landmarks at its own resolution."""

from __future__ import annotations

from dataclasses import replace

import torch
from support.pyramid_pairs import POINTS, SHAPE, SHIFTS, deformed_pair

from RegRefineLib.refine.pyramid.level import Level
from RegRefineLib.refine.pyramid.settings import Pyramid

HALF = (18, 20, 16)


def level(pair, count: int = 1, **settings) -> tuple[Level, list[torch.Tensor]]:
    fields = [torch.zeros((1, 3, *HALF)) for _ in range(count)]
    plain = replace(pair, fixed_labels=None, moving_labels=None)
    return Level(plain, fields, HALF, Pyramid(**settings)), fields


def test_steps_lower_the_loss_that_they_return():
    for count in (1, 2):
        pair, _ = deformed_pair()
        one, fields = level(pair, count)
        losses = []
        for _ in range(4):
            fields, loss = one.step(fields, 0.5)
            losses.append(loss)
        assert losses[1] < 0.8 * losses[0]
        assert losses[-1] < 0.6 * losses[0]
        assert len(fields) == count


def test_exchanging_the_images_exchanges_the_displacements_to_the_last_bit():
    pair, _ = deformed_pair()
    one, fields = level(pair, 2)
    other, _ = level(replace(pair, fixed=pair.moving, moving=pair.fixed), 2)
    (a, b), loss = one.step(fields, 0.5)
    (c, d), same = other.step(fields, 0.5)
    assert torch.equal(a, d)
    assert torch.equal(b, c)
    assert loss == same


def test_a_voxel_partly_outside_the_mask_does_not_count():
    mask = torch.zeros((1, 1, *SHAPE))
    mask[..., 7:, :, :] = 1.0
    pair, _ = deformed_pair(fixed_mask=mask)
    for count in (1, 2):
        there = level(pair, count)[0].mask
        assert not there[..., :4, :, :].any()
        assert bool(there[..., 5:, :, :].all())


def test_landmarks_pull_from_where_they_lie_on_the_coarser_grid():
    pair, _ = deformed_pair(fixed_points=POINTS, moving_points=POINTS + SHIFTS)
    assert level(pair)[0].pulls == []
    (pull,) = level(pair, landmarks=1.0)[0].pulls
    torch.testing.assert_close(pull.moving - pull.fixed, SHIFTS / 2)
    first, second = level(pair, 2, landmarks=1.0)[0].pulls
    torch.testing.assert_close(first.fixed, second.fixed)
    torch.testing.assert_close(first.moving - first.fixed, SHIFTS / 4)
    torch.testing.assert_close(second.moving - second.fixed, -SHIFTS / 4)
