"""Separable windows equal dense ones, whichever way they are computed."""

import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from torch.autograd import gradcheck

from RegRefineLib.ops import filters

SHAPES = [(9, 12, 70), (1, 5, 4), (16, 1, 3), (7, 8, 1), (3, 2, 5), (11, 6, 129)]
WINDOWS = {
    "box 3": filters.box(3),
    "box 5": filters.box(5),
    "box 13": filters.box(13),
    "gaussian 11": filters.gaussian(1.5, 11),
    "gaussian": filters.gaussian(2.0),
}


def dense(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """(q, D, H, W) by the k^3 kernel."""
    line = torch.tensor(weights, dtype=x.dtype)
    kernel = torch.einsum("a,b,c->abc", line, line, line)[None, None]
    return F.conv3d(x[:, None], kernel, padding=len(weights) // 2)[:, 0]


def noise(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_sum_equals_the_dense_convolution_in_float64(window, shape):
    x = noise((2, *shape))
    found = filters.window_sum(x, WINDOWS[window])
    torch.testing.assert_close(found, dense(x, WINDOWS[window]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("compiled", ["1", "0"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_both_forms_give_the_same_in_float32(monkeypatch, window, shape, compiled):
    monkeypatch.setenv("REGREFINE_NUMBA", compiled)
    x = noise((2, *shape))
    found = filters.window_sum(x.float(), WINDOWS[window])
    torch.testing.assert_close(
        found.double(), dense(x, WINDOWS[window]), rtol=2e-6, atol=1e-6 * sum(WINDOWS[window]) ** 3
    )


def test_any_leading_axes_and_strides_are_taken():
    x = noise((2, 3, 6, 7, 8), torch.float32)
    weights = filters.box(5)
    whole = filters.window_sum(x, weights)
    assert whole.shape == x.shape
    torch.testing.assert_close(whole[1, 2], filters.window_sum(x[1, 2], weights))
    turned = x.transpose(-1, -3)
    torch.testing.assert_close(
        filters.window_sum(turned, weights), whole.transpose(-1, -3), rtol=1e-5, atol=1e-5
    )


def test_the_input_is_not_changed():
    x = noise((5, 6, 7), torch.float32)
    before = x.clone()
    filters.window_sum(x, filters.box(3))
    filters.box3(x)
    assert torch.equal(x, before)


def test_a_window_is_its_own_adjoint():
    x, y = noise((8, 9, 10)), noise((10, 8, 9)).permute(1, 2, 0)
    for weights in WINDOWS.values():
        left = (filters.window_sum(x, weights) * y).sum()
        right = (x * filters.window_sum(y, weights)).sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(6, 7, 8), (1, 4, 5), (2, 1, 3)], ids=str)
def test_three_voxel_means_are_dense_ones_with_their_gradient(shape):
    x = noise((2, *shape)).requires_grad_()
    torch.testing.assert_close(filters.box3(x), dense(x, filters.box(3)) / 27)
    assert gradcheck(filters.box3, (x,), fast_mode=True)


def test_gaussians_sum_to_one_and_are_symmetric():
    for sigma, width in ((1.5, 11), (0.4, None), (3.0, None)):
        weights = filters.gaussian(sigma, width)
        assert len(weights) % 2 == 1
        assert sum(weights) == pytest.approx(1, abs=1e-12)
        assert weights == weights[::-1]
    assert len(filters.gaussian(1.5, 11)) == 11
    assert len(filters.gaussian(2.0)) == 13


@pytest.mark.parametrize("width", [0, -3, 4])
def test_a_box_has_an_odd_width(width):
    with pytest.raises(ValueError, match="width"):
        filters.box(width)


def test_thinning_is_a_gaussian_and_linear_interpolation():
    image = torch.rand((1, 1, 12, 9, 16), generator=torch.Generator().manual_seed(2))
    expected = image.double().numpy()
    for axis, n in zip((2, 3, 4), (6, 9, 5), strict=True):
        if n < expected.shape[axis]:
            ratio = expected.shape[axis] / n
            weights = filters.gaussian(round(0.42 * ratio, 4))
            expected = ndimage.correlate1d(expected, weights, axis, mode="nearest")
    expected = F.interpolate(
        torch.from_numpy(expected), size=(6, 9, 5), mode="trilinear", align_corners=False
    )
    torch.testing.assert_close(filters.downsampled(image, (6, 9, 5)).double(), expected)
    assert filters.downsampled(image, (12, 9, 16)) is image
