"""The change of volume and the step that evens it out, against closed forms and autograd."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from RegRefineLib.metrics.jacobian import determinant
from RegRefineLib.ops import volume_change
from RegRefineLib.ops.filters import gaussian, window_sum
from RegRefineLib.ops.warp import compose

SHAPE = (13, 9, 11)


def smooth(seed: int, size: float = 3.0, shape=SHAPE) -> torch.Tensor:
    noise = torch.randn((1, 3, *shape), generator=torch.Generator().manual_seed(seed))
    return size * window_sum(noise, gaussian(1.5))


def test_the_logarithm_is_that_of_the_judge_s_determinant():
    u = smooth(1)
    wanted = np.log(np.maximum(determinant(u[0].numpy()), volume_change.LEAST_DETERMINANT))
    found = volume_change.log_determinant(u)[0, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_a_fold_has_a_logarithm():
    folded = torch.zeros((1, 3, 8, 8, 8))
    folded[:, 0] = -3 * torch.arange(8.0).view(8, 1, 1)
    least = torch.tensor(volume_change.LEAST_DETERMINANT).log()
    assert torch.allclose(volume_change.log_determinant(folded), least)


def test_the_step_goes_down_the_energy_of_the_logarithms():
    u = smooth(2, 6.0, (24, 22, 20))
    metric = torch.ones((1, 3, 1, 1, 1))

    def energy(field: torch.Tensor) -> float:
        inner = volume_change.log_determinant(field)[..., 4:-4, 4:-4, 4:-4]
        return float(inner.square().mean())

    values = [energy(u)]
    for _ in range(4):
        u = compose(u, volume_change.evening_step(u, metric, 0.3))
        values.append(energy(u))
    assert all(b < a for a, b in itertools.pairwise(values))
    assert values[-1] < 0.5 * values[0]


def test_a_step_is_bounded_and_no_longer_through_thick_slices():
    u = smooth(3, 20.0)
    thin = volume_change.evening_step(u, torch.ones((1, 3, 1, 1, 1)), 1.0)
    assert float(thin.abs().max()) <= volume_change.LONGEST + 1e-6
    metric = torch.tensor([0.1, 1.0, 1.0]).view(1, 3, 1, 1, 1)
    small = smooth(3, 0.5)
    one, other = (
        volume_change.evening_step(small, m, 0.1) for m in (torch.ones((1, 3, 1, 1, 1)), metric)
    )
    torch.testing.assert_close(other[:, 0], 0.01 * one[:, 0])
    torch.testing.assert_close(other[:, 1:], one[:, 1:])


def test_a_mere_shift_or_turn_is_left_alone():
    angle = torch.tensor(0.3)
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij"))
    turned = torch.zeros((1, 3, *SHAPE))
    turned[0, 0] = (angle.cos() - 1) * grid[0] - angle.sin() * grid[1] + 2.0
    turned[0, 1] = angle.sin() * grid[0] + (angle.cos() - 1) * grid[1]
    step = volume_change.evening_step(turned, torch.ones((1, 3, 1, 1, 1)), 0.5)
    assert float(step.abs().max()) < 1e-5
