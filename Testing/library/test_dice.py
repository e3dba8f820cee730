"""Soft Dice of labels and probabilities, and of labels through a displacement."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from RegRefineLib.losses.dice import soft_dice_loss, warped_dice_loss
from RegRefineLib.ops.warp import warp

SHAPE = (5, 6, 7)


def labels(seed: int, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, count, (2, 1, *SHAPE), generator=generator)


def one_hot(label_map: Tensor, count: int = 4) -> Tensor:
    return F.one_hot(label_map[:, 0], count).movedim(-1, 1).double()


def field(scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return scale * torch.randn((2, 3, *SHAPE), generator=generator, dtype=torch.float64)


def some_mask() -> Tensor:
    return torch.rand((2, 1, *SHAPE), generator=torch.Generator().manual_seed(6)).double()


def test_of_a_map_with_itself_is_zero_and_with_a_disjoint_one_one():
    assert soft_dice_loss(labels(0), one_hot(labels(0))) == pytest.approx(0)
    assert soft_dice_loss(labels(0), one_hot((labels(0) + 1) % 4)) == pytest.approx(1)


def test_agrees_with_the_one_hot_definition():
    target, p, mask = one_hot(labels(0)), one_hot(labels(1)).roll(1, 2) * 0.7, some_mask()
    axes = (2, 3, 4)
    common = (target * p * mask).sum(axes)
    for squared in (False, True):
        size = ((p * p if squared else p) * mask).sum(axes)
        dice = (2 * common + 1) / ((target * mask).sum(axes) + size + 1)
        found = soft_dice_loss(labels(0), p, mask, squared=squared, smooth=1.0, background=True)
        torch.testing.assert_close(found, 1 - dice.mean())
        found = soft_dice_loss(labels(0), p, mask, squared=squared, smooth=1.0)
        torch.testing.assert_close(found, 1 - dice[:, 1:].mean())


def test_a_label_absent_from_both_counts_as_missed_unless_smoothed():
    only_one = labels(0).clamp(max=1)
    assert soft_dice_loss(only_one, one_hot(only_one, 3)) == pytest.approx(0.5)
    assert soft_dice_loss(only_one, one_hot(only_one, 3), smooth=1e-3) == pytest.approx(0)


@pytest.mark.parametrize("masked", [False, True])
def test_through_a_displacement_equals_warping_one_hot_volumes(masked):
    u = field(2.0).requires_grad_()  # many positions lie outside
    mask = some_mask() if masked else None
    slow = soft_dice_loss(labels(0), warp(one_hot(labels(1)), u), mask)
    quick = warped_dice_loss(labels(0), labels(1), u, mask)
    torch.testing.assert_close(quick, slow)
    for by_quick, by_slow in zip(
        torch.autograd.grad(quick, u), torch.autograd.grad(slow, u), strict=True
    ):
        torch.testing.assert_close(by_quick, by_slow)


@pytest.mark.parametrize("masked", [False, True])
def test_has_the_gradient_of_its_value(masked):
    u, mask = field().requires_grad_(), some_mask() if masked else None
    assert gradcheck(
        lambda x: warped_dice_loss(labels(0), labels(1), x, mask, count=4), (u,), fast_mode=True
    )
    p = one_hot(labels(1)).mul(0.8).add(0.05).requires_grad_()
    assert gradcheck(
        lambda x: soft_dice_loss(labels(0), x, mask, squared=True), (p,), fast_mode=True
    )


def test_maps_of_other_integer_types_and_many_labels_are_taken():
    many = torch.arange(5 * 6 * 7).view(1, 1, *SHAPE).to(torch.int16)
    still = torch.zeros(1, 3, *SHAPE)
    assert warped_dice_loss(many, many, still) == pytest.approx(0, abs=1e-6)


def test_large_structures_are_summed_exactly():
    everything = torch.ones((1, 1, 60, 180, 180), dtype=torch.uint8)
    p = torch.full((1, 2, 60, 180, 180), 0.1)  # added one by one, float32 is off by per cents
    assert soft_dice_loss(everything, p) == pytest.approx(1 - 2 * 0.1 / 1.1, abs=1e-6)
