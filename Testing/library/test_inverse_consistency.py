"""ICON's and GradICON's regularisers of two displacements."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from RegRefineLib.losses.inverse_consistency import (
    gradient_inverse_consistency,
    inverse_consistency,
)
from RegRefineLib.ops.warp import identity, invert

SHAPE = (7, 8, 9)


def constant(*vector: float) -> Tensor:
    return torch.tensor(vector).double().view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)


def random(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, 3, *shape), generator=generator, dtype=torch.float64)


def test_opposite_translations_are_consistent():
    there, back = constant(1.0, -0.5, 2.0), constant(-1.0, 0.5, -2.0)
    assert inverse_consistency(there, back) == pytest.approx(0, abs=1e-20)
    assert gradient_inverse_consistency(there, back) == pytest.approx(0, abs=1e-18)


def test_a_translation_that_does_not_come_back_costs_its_square_but_no_gradient():
    there, back = constant(3.0, 0.0, 0.0), constant(0.0, 0.0, 0.0)
    unit = 3.0 / (SHAPE[0] - 1)
    assert inverse_consistency(there, back) == pytest.approx(2 * unit**2 / 3)
    assert gradient_inverse_consistency(there, back) == pytest.approx(0, abs=1e-18)


def test_a_stretch_that_does_not_come_back_costs_its_slope():
    stretch = torch.zeros(1, 3, *SHAPE, dtype=torch.float64)
    stretch[:, 1] = -0.25 * identity(SHAPE, stretch)[:, 1]
    found = gradient_inverse_consistency(torch.zeros_like(stretch), stretch, stride=1)
    inside = torch.ones(1, 1, *SHAPE)
    inside[:, :, :, -1] = 0  # there the finite difference looks beyond the border
    masked = gradient_inverse_consistency(torch.zeros_like(stretch), stretch, inside, stride=1)
    assert masked == pytest.approx(0.25**2 / 3)
    assert found < masked


def test_an_inverse_costs_less_than_the_negative():
    x = identity(SHAPE, torch.zeros((), dtype=torch.float64))
    there = torch.stack([torch.sin(x[:, (c + 1) % 3] / 2) for c in range(3)], dim=1)
    for loss in (inverse_consistency, gradient_inverse_consistency):
        assert loss(there, invert(there, 60, 1e-9)) < 0.5 * loss(there, -there)


@pytest.mark.parametrize("loss", [inverse_consistency, gradient_inverse_consistency])
def test_masks_and_noise_are_heeded(loss):
    there, back, noise = random(0), random(1), random(2)
    everywhere = torch.ones(1, 1, *SHAPE)
    torch.testing.assert_close(loss(there, back, everywhere), loss(there, back))
    assert loss(there, back, noise=noise) != loss(there, back)
    assert loss(there, back, torch.zeros_like(everywhere)) == 0


@pytest.mark.parametrize("loss", [inverse_consistency, gradient_inverse_consistency])
def test_has_the_gradient_of_its_value_in_both_fields(loss):
    fields = [random(seed, (4, 4, 4)).mul(0.7).requires_grad_() for seed in (0, 1)]
    assert gradcheck(loss, fields, fast_mode=True)
