"""MIND-SSC features."""

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from RegRefineLib.ops import mind


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, 1, *shape), generator=generator, dtype=torch.float64)


def naive(volume: np.ndarray, radius: int, dilation: int) -> np.ndarray:
    """The definition, one pair and one place of the box at a time."""
    voxels = np.moveaxis(np.indices(volume.shape), 0, -1)
    last = np.array(volume.shape) - 1
    distance = np.zeros((len(mind.PAIRS), *volume.shape))
    box = list(itertools.product(range(-radius, radius + 1), repeat=3))
    for channel, pair in enumerate(mind.PAIRS):
        for offset in box:
            centre = np.clip(voxels + offset, 0, last)  # differences are continued ...
            places = (np.clip(centre + dilation * np.array(p), 0, last) for p in pair)
            a, b = (volume[tuple(np.moveaxis(p, -1, 0))] for p in places)  # ... as intensities
            distance[channel] += (a - b) ** 2 / len(box)
    distance -= distance.min(axis=0)
    variance = distance.mean(axis=0)
    variance = np.clip(variance, 1e-3 * variance.mean(), 1e3 * variance.mean())
    return np.exp(-distance / variance)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 1), (1, 2), (2, 1)])
def test_features_follow_the_definition(radius, dilation):
    x = image(5, 4, 6)
    found = mind.features(x, radius, dilation)[0].numpy()
    np.testing.assert_allclose(found, naive(x[0, 0].numpy(), radius, dilation), atol=1e-12)


def test_the_pairs_are_the_twelve_oblique_ones():
    pairs = {frozenset(pair) for pair in mind.PAIRS}
    assert len(pairs) == len(mind.PAIRS) == 12
    for a, b in mind.PAIRS:
        assert np.sum(np.abs(a)) == np.sum(np.abs(b)) == 1
        assert np.sum((np.array(a) - np.array(b)) ** 2) == 2


@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 6, 2), (2, 2, 2)])
@pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (3, 1)])
def test_the_gradient_is_that_of_the_value_even_where_windows_exceed_the_image(
    shape, radius, dilation
):
    x = image(*shape).requires_grad_()
    assert gradcheck(lambda y: mind.features(y, radius, dilation), (x,), fast_mode=True)


def test_features_have_the_gradient_of_their_value():
    x = image(5, 4, 5).requires_grad_()
    assert gradcheck(lambda y: mind.features(y, 1, 1), (x,), fast_mode=True)


def test_features_are_the_same_with_and_without_a_gradient():
    x = image(6, 7, 8)
    assert torch.equal(mind.features(x), mind.features(x.clone().requires_grad_()).detach())


def test_a_batch_is_its_images():
    x = torch.cat([image(6, 5, 7), image(6, 5, 7, seed=1)])
    torch.testing.assert_close(mind.features(x)[1:], mind.features(x[1:]))


def test_contrast_and_brightness_do_not_matter():
    x = image(6, 7, 8)
    torch.testing.assert_close(mind.features(-40 * x + 3), mind.features(x))


def test_a_flat_image_has_features_of_one():
    assert (mind.features(torch.full((1, 1, 4, 4, 4), 7.0)) == 1).all()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="image"):
        mind.features(torch.zeros(1, 2, 4, 4, 4))
    with pytest.raises(ValueError, match="radius, dilation"):
        mind.features(torch.zeros(1, 1, 4, 4, 4), radius=0)
