"""A step goes down the loss, as long as it may be, and further the way it is steered."""

from __future__ import annotations

import torch

from RegRefineLib.refine.pyramid.greedy_step import GreedyStep
from RegRefineLib.refine.pyramid.settings import Pyramid

SHAPE = (12, 14, 16)


def ramp() -> torch.Tensor:
    """Return an image that grows by a tenth per voxel along the first axis."""
    return (torch.arange(12.0) / 10).view(1, 1, 12, 1, 1).expand(1, 1, *SHAPE).contiguous()


def motion(edges: tuple[float, ...] = (1.0, 1.0, 1.0)) -> GreedyStep:
    metric = torch.tensor(edges).reciprocal().view(1, 3, 1, 1, 1)
    return GreedyStep(ramp(), metric, Pyramid(field_sigma=0.0))


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[..., 5:-5, 5:-5, 5:-5]


def test_a_step_lowers_the_loss_by_a_step_s_length():
    step = motion()
    seen = step.seen(torch.zeros((1, 3, *SHAPE)))
    update = step.update(seen, torch.full_like(seen, -1e-4), 0.5)  # brighter is better
    assert float(inner(update)[:, 0].min()) > 0.4
    assert float(update[:, 0].max()) <= 0.5 + 1e-5
    assert float(inner(update)[:, 1:].abs().max()) < 1e-6


def test_through_thick_slices_a_step_is_no_longer_in_millimetres():
    step = motion((5.0, 1.0, 1.0))
    seen = step.seen(torch.zeros((1, 3, *SHAPE)))
    update = step.update(seen, torch.full_like(seen, -1e-4), 0.5)
    assert float(update.abs().max()) * 5 <= 0.5 + 1e-5


def test_steering_outweighs_the_images_however_small_their_force_is():
    steer = torch.zeros((1, 3, *SHAPE))
    steer[:, 1] = 10.0
    for scale in (1e-8, 1.0):
        step = motion()
        seen = step.seen(torch.zeros((1, 3, *SHAPE)))
        update = inner(step.update(seen, torch.full_like(seen, -scale), 0.5, steer))
        assert float(update[:, 1].min()) > 0.4
        assert 0 < float(update[:, 0].max()) < 0.1


def test_what_moved_is_composed():
    start, update = torch.zeros((1, 3, *SHAPE)), torch.zeros((1, 3, *SHAPE))
    start[:, 0] = torch.arange(12.0).view(1, 12, 1, 1) / 10
    update[:, 0] = 1.0
    moved = motion().moved(start, update)
    assert torch.allclose(moved[:, 0, :-1], start[:, 0, 1:] + 1.0)
