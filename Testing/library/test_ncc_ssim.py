"""Local NCC and SSIM: values by a naive loop, gradients, masks and invariances."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from RegRefineLib.losses.ncc import LocalNCC, local_ncc, multi_window_ncc, multi_window_terms
from RegRefineLib.losses.ssim import SSIM, ssim_loss
from RegRefineLib.losses.windowed import WindowedSimilarity
from RegRefineLib.ops.filters import window_sum

N = 12


def images(n: int = N, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    fixed = torch.rand((1, 1, n, n, n), generator=generator, dtype=torch.float64)
    moving = 0.6 * fixed + 0.4 * torch.rand(fixed.shape, generator=generator, dtype=torch.float64)
    return fixed.to(dtype), moving.to(dtype)


def windows_of(image: Tensor, half: int):
    """The window around every voxel, zeros outside the image."""
    padded = np.pad(image[0, 0].numpy(), half)
    for k, j, i in itertools.product(range(N), repeat=3):
        size = 2 * half + 1
        yield padded[k : k + size, j : j + size, i : i + size]


def naive_ncc(fixed: Tensor, moving: Tensor, width: int) -> float:
    values = []
    pairs = zip(windows_of(fixed, width // 2), windows_of(moving, width // 2), strict=True)
    for a, b in pairs:
        a, b = a - a.sum() / width**3, b - b.sum() / width**3
        values.append((a * b).sum() ** 2 / ((a * a).sum() * (b * b).sum() + 1e-5))
    return 1 - float(np.mean(values))


def naive_ssim(fixed: Tensor, moving: Tensor) -> float:
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.einsum("a,b,c->abc", line, line, line)
    weights /= weights.sum()
    values = []
    for a, b in zip(windows_of(fixed, 5), windows_of(moving, 5), strict=True):
        m, n = (weights * a).sum(), (weights * b).sum()
        va, vb = (weights * a * a).sum() - m * m, (weights * b * b).sum() - n * n
        cov = (weights * a * b).sum() - m * n
        above = (2 * m * n + 1e-4) * (2 * cov + 9e-4)
        values.append(above / ((m * m + n * n + 1e-4) * (va + vb + 9e-4)))
    return 1 - float(np.mean(values))


@pytest.mark.parametrize("width", [3, 5, 9, 13])
def test_ncc_is_the_naive_loops(width):
    fixed, moving = images()
    found = float(local_ncc(fixed, moving, window=width))
    assert found == pytest.approx(naive_ncc(fixed, moving, width), rel=1e-9)


def test_ssim_is_the_naive_loops():
    fixed, moving = images()
    assert float(ssim_loss(fixed, moving)) == pytest.approx(naive_ssim(fixed, moving), rel=1e-9)


def test_several_windows_are_the_weighted_sum_of_single_ones():
    fixed, moving = images()
    single = sum(w * local_ncc(fixed, moving, window=n) for n, w in ((5, 0.5), (9, 0.3), (13, 0.2)))
    torch.testing.assert_close(multi_window_ncc(fixed, moving), single)


@pytest.mark.parametrize("masked", [None, "windows too", "mean only"])
def test_the_gradient_of_the_whole_sum_is_that_of_its_value(masked):
    fixed, moving = images(7)
    mask = (images(7)[1] > 0.4).double() if masked else None
    terms = [*multi_window_terms(), (2.0, SSIM()), (0.7, SSIM(box_width=3))]
    loss = WindowedSimilarity(fixed, terms, mask, whole_windows=masked == "mean only")
    assert gradcheck(loss, (moving.requires_grad_(),), fast_mode=True)


def test_no_gradient_is_computed_where_none_is_wanted():
    fixed, moving = images()
    assert not local_ncc(fixed, moving).requires_grad
    moving.requires_grad_()
    (3 * local_ncc(fixed, moving)).backward()
    tripled = moving.grad.clone()
    moving.grad = None
    local_ncc(fixed, moving).backward()
    torch.testing.assert_close(tripled, 3 * moving.grad)


def test_neither_image_is_changed():
    fixed, moving = images(dtype=torch.float32)
    before = fixed.clone(), moving.clone()
    loss = WindowedSimilarity(fixed, [*multi_window_terms(), (2.0, SSIM())])
    first, second = float(loss(moving)), float(loss(moving))
    assert first == second
    assert torch.equal(fixed, before[0])
    assert torch.equal(moving, before[1])


@pytest.mark.parametrize("slope", [3.0, 0.2, -1.0])
def test_ncc_does_not_see_contrast_and_brightness_inside(slope):
    fixed, moving = images(16)
    inside = slice(3, -3)  # beyond, zeros outside the image are in the windows
    other = slope * moving + 0.7

    def cc(image: Tensor) -> Tensor:
        term = LocalNCC(7, eps=0.0)
        similarity = WindowedSimilarity(fixed, [(1.0, term)])
        products = torch.stack([image, image * image, image * fixed])[:, 0, 0]
        sums = window_sum(products, term.weights)
        fixed_maps = similarity.fixed_maps[0]
        loss, _ = term.evaluate(tuple(sums), tuple(fixed_maps), 343.0)
        return loss[inside, inside, inside]

    torch.testing.assert_close(cc(other), cc(moving))


def test_a_mask_makes_its_outside_as_good_as_absent():
    fixed, moving = images()
    mask = torch.zeros_like(fixed)
    mask[..., 2:10, 2:10, 2:10] = 1
    noise = torch.rand_like(fixed) * (1 - mask)
    for loss in (local_ncc, ssim_loss, multi_window_ncc):
        torch.testing.assert_close(
            loss(fixed + noise, moving + 2 * noise, mask), loss(fixed, moving, mask)
        )


def test_an_image_equals_itself():
    fixed, _ = images()
    assert float(ssim_loss(fixed, fixed)) == pytest.approx(0, abs=1e-12)
    assert float(ssim_loss(fixed, fixed, window="box")) == pytest.approx(0, abs=1e-12)
    assert float(local_ncc(fixed, fixed)) == pytest.approx(0, abs=1e-4)


def test_float32_is_near_float64():
    fixed, moving = images(24)
    for loss in (local_ncc, multi_window_ncc, ssim_loss):
        low = float(loss(fixed.float(), moving.float()))
        assert math.isclose(low, float(loss(fixed, moving)), rel_tol=1e-5)


def test_planes_worked_on_one_at_a_time_give_the_same(monkeypatch):
    fixed, moving = images()
    whole = multi_window_ncc(fixed, moving)
    monkeypatch.setattr("RegRefineLib.losses.windowed._CPU_SLAB_VOXELS", 1)
    torch.testing.assert_close(multi_window_ncc(fixed, moving), whole)


def test_where_nothing_counts_beyond_the_border_a_constant_changes_nothing_there():
    fixed, moving = images()

    def loss(added: float, **how: bool) -> float:
        terms = [(1.0, LocalNCC(5))]
        return float(WindowedSimilarity(fixed, terms, **how)(moving + added))

    assert loss(3.0, zeros_beyond=False) == pytest.approx(loss(0.0, zeros_beyond=False), abs=1e-4)
    assert loss(3.0) != pytest.approx(loss(0.0), abs=1e-2)
