"""A step goes down the loss, as long as it may be, and further the way labels guide it."""

from __future__ import annotations

import itertools

import pytest
import torch

from RegRefineLib.ops.force import limited, typical_length
from RegRefineLib.ops.volume_change import log_determinant
from RegRefineLib.refine.pyramid.greedy_step import LEAST_FORCE, GreedyStep
from RegRefineLib.refine.pyramid.settings import Pyramid

SHAPE = (12, 14, 16)


def ramp() -> torch.Tensor:
    """Return an image that grows by a tenth per voxel along the first axis."""
    return (torch.arange(12.0) / 10).view(1, 1, 12, 1, 1).expand(1, 1, *SHAPE).contiguous()


def motion(edges: tuple[float, ...] = (1.0, 1.0, 1.0)) -> GreedyStep:
    metric = torch.tensor(edges).reciprocal().view(1, 3, 1, 1, 1)
    return GreedyStep(ramp(), metric, Pyramid(field_sigma=0.0, evenness=0.0))


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[..., 5:-5, 5:-5, 5:-5]


def test_a_step_lowers_the_loss_by_a_step_s_length():
    step = motion()
    warped = step.warped(torch.zeros((1, 3, *SHAPE)))
    update = step.update(warped, torch.full_like(warped, -1e-4), 0.5)  # brighter is better
    assert float(inner(update)[:, 0].min()) > 0.4
    assert float(update[:, 0].max()) <= 0.5 + 1e-5
    assert float(inner(update)[:, 1:].abs().max()) < 1e-6


def test_through_thick_slices_a_step_is_no_longer_in_millimetres():
    step = motion((5.0, 1.0, 1.0))
    warped = step.warped(torch.zeros((1, 3, *SHAPE)))
    update = step.update(warped, torch.full_like(warped, -1e-4), 0.5)
    assert float(update.abs().max()) * 5 <= 0.5 + 1e-5


def test_a_guide_outweighs_the_images_however_small_their_force_is():
    guide = torch.zeros((1, 3, *SHAPE))
    guide[:, 1] = 10.0
    for scale in (1e-8, 1.0):
        step = motion()
        warped = step.warped(torch.zeros((1, 3, *SHAPE)))
        update = inner(step.update(warped, torch.full_like(warped, -scale), 0.5, guide))
        assert float(update[:, 1].min()) > 0.4
        assert 0 < float(update[:, 0].max()) < 0.1


def test_what_moved_is_composed():
    start, update = torch.zeros((1, 3, *SHAPE)), torch.zeros((1, 3, *SHAPE))
    start[:, 0] = torch.arange(12.0).view(1, 12, 1, 1) / 10
    update[:, 0] = 1.0
    moved = motion().moved(start, update)
    assert torch.allclose(moved[:, 0, :-1], start[:, 0, 1:] + 1.0)


def test_weak_forces_take_shorter_steps_and_empty_space_changes_nothing():
    force = torch.zeros((1, 3, 8, 8, 8))
    force[0, 0, :4] = 2.0
    force[0, 1, 4] = 0.1
    padded = torch.cat([force, torch.zeros((1, 3, 50, 8, 8))], dim=2)
    assert typical_length(padded) == pytest.approx(typical_length(force), rel=1e-5)
    short = limited(force.clone(), 0.5 * typical_length(force))
    assert torch.allclose(short[0, 0, :4], torch.ones(()))
    assert 0 < float(short[0, 1, 4].max()) < 0.2
    assert not bool(limited(torch.zeros((1, 3, 2, 2, 2)), LEAST_FORCE).any())


def test_evenness_lets_a_compressed_place_expand():
    squeezed = torch.zeros((1, 3, *SHAPE))
    squeezed[:, 0] = -0.8 * torch.tanh(torch.arange(12.0) - 6).view(1, 12, 1, 1)
    metric = torch.ones((1, 3, 1, 1, 1))
    least = [float(log_determinant(squeezed).min())]
    for _ in range(5):
        step = GreedyStep(ramp(), metric, Pyramid(field_sigma=0.0, evenness=0.3))
        squeezed = step.moved(squeezed, torch.zeros_like(squeezed))
        least.append(float(log_determinant(squeezed).min()))
    assert least[0] < -0.5
    assert all(after > before for before, after in itertools.pairwise(least))
