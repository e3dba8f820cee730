from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from RegRefineLib.geometry import Geometry
from RegRefineLib.inference.grid import levelled, network_grid
from RegRefineLib.networks.base import RegistrationNetwork, Sizes
from RegRefineLib.ops.warp import resize, warp
from RegRefineLib.weights.catalogue import Preprocessing

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]


def taking(stride: int | Sizes, minimum: int = 1) -> RegistrationNetwork:
    """Return a network that takes multiples of `stride`, `minimum` at least."""
    network = RegistrationNetwork()
    network.stride, network.minimum = stride, minimum
    return network


def geometry(shape: tuple[int, int, int], spacing: tuple[float, ...] = (1, 1, 1)) -> Geometry:
    return Geometry.from_parts(shape, spacing, np.eye(3), (5, -3, 2))


def smooth(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, 1, 3, 3, 3), generator=generator)
    return torch.nn.functional.interpolate(noise, shape, mode="trilinear", align_corners=True)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_displacement_found_on_turned_images_warps_the_same(orientation: str) -> None:
    grid = network_grid(geometry((6, 8, 10)), Preprocessing(orientation=orientation), taking(8))
    image = smooth((6, 8, 10))
    turned = grid.images(image)
    assert all(n % 8 == 0 for n in turned.shape[2:])
    found = torch.randn((1, 3, *turned.shape[2:]), generator=torch.Generator().manual_seed(1)) / 4
    there = warp(turned, found)
    here = warp(image, grid.displacement(found))
    expected = grid.images(here)
    inside = grid.images(torch.ones_like(image)) > 0
    rim = torch.zeros_like(image)
    rim[..., 2:-2, 2:-2, 2:-2] = 1
    inside &= grid.images(rim) > 0
    assert torch.allclose(there[inside], expected[inside], atol=1e-5)


def test_the_axes_point_where_they_are_wanted() -> None:
    labels = torch.zeros((1, 1, 4, 6, 8))
    labels[..., -1] = 1.0  # the fastest axis of an RAS volume runs to the right
    grid = network_grid(geometry((4, 6, 8)), Preprocessing(orientation="LIA"), taking(1))
    turned = grid.images(labels)
    assert tuple(turned.shape[2:]) == (8, 4, 6)
    assert bool((turned[0, 0, 0] == 1).all())
    assert float(turned.sum()) == 4 * 6


def test_a_rotated_volume_is_turned_to_the_nearest_axes() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    direction = np.vstack([turn, [0, 0, 1]])
    tilted = Geometry.from_parts((4, 6, 8), (1, 1, 1), direction, (0, 0, 0))
    assert network_grid(tilted, Preprocessing(orientation="SAR"), taking(1)).order == (0, 1, 2)
    assert network_grid(tilted, Preprocessing(orientation="LPI"), taking(1)).flips == (0, 1, 2)


def test_spacing_decides_the_sizes_and_voxels_are_counted_in_the_pairs_grid() -> None:
    coarse = geometry((8, 12, 16), spacing=(2.0, 2.0, 3.0))
    grid = network_grid(coarse, Preprocessing(spacing_mm=1.0), taking(16))
    assert grid.size == (24, 24, 32)
    found = torch.ones((1, 3, 32, 32, 32))
    back = grid.displacement(found)
    assert tuple(back.shape) == (1, 3, 8, 12, 16)
    assert torch.allclose(back[0, :, 4, 4, 4], torch.tensor([1 / 3, 1 / 2, 1 / 2]))


def test_weights_spacing_wins_over_the_networks() -> None:
    class Coarse(RegistrationNetwork):
        spacing_mm = 4.0

    fine = geometry((8, 12, 16), spacing=(2.0, 2.0, 2.0))
    assert network_grid(fine, Preprocessing(), Coarse()).size == (4, 6, 8)
    assert network_grid(fine, Preprocessing(spacing_mm=1.0), Coarse()).size == (16, 24, 32)
    assert network_grid(fine, Preprocessing(shape=(5, 6, 7)), Coarse()).size == (5, 6, 7)


def test_a_shape_is_squeezed_to() -> None:
    grid = network_grid(geometry((10, 20, 30)), Preprocessing(shape=(8, 8, 8)), taking(4))
    assert tuple(grid.images(smooth((10, 20, 30))).shape) == (1, 1, 8, 8, 8)
    field = torch.ones((1, 3, 8, 8, 8))
    assert torch.allclose(grid.displacement(field), resize(field, (10, 20, 30)))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, 40),) * 3),
    stride=st.tuples(*(st.sampled_from([1, 2, 16]),) * 3),
    minimum=st.integers(1, 33),
)
def test_padding_reaches_stride_and_minimum_and_is_cropped_back(
    shape: tuple[int, int, int], stride: tuple[int, int, int], minimum: int
) -> None:
    grid = network_grid(geometry(shape), Preprocessing(), taking(stride, minimum))
    image = torch.rand((1, 1, *shape))
    padded = grid.images(image)
    for n, old, step in zip(padded.shape[2:], shape, stride, strict=True):
        assert n % step == 0
        assert max(old, minimum) <= n < max(old, minimum) + step
    assert torch.equal(grid.displacement(padded.expand(-1, 3, -1, -1, -1))[:, :1], image)


def test_an_array_without_a_header_is_taken_as_the_model_wants_it() -> None:
    for signs in ((1, 1, 1), (-1, -1, 1)):
        bare = Geometry((4, 6, 8), np.diag([*signs, 1.0]))
        assert network_grid(bare, Preprocessing(orientation="LIA"), taking(1)).order == (0, 1, 2)


def test_intensities_are_brought_to_a_level() -> None:
    image = torch.zeros((1, 1, 4, 4, 4))
    image[..., 2:] = torch.linspace(0.1, 1.0, 32).view(4, 4, 2)
    found = levelled(image, (50, 0.45))
    assert float(np.median(found[found > 0].numpy())) == pytest.approx(0.45)
    assert bool((found[image == 0] == 0).all())
    assert levelled(image, None) is image
    blank = torch.zeros_like(image)
    assert torch.equal(levelled(blank, (50, 0.45)), blank)
