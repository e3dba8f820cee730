"""Sampling by planes agrees with torch's own sampler in double precision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from RegRefineLib.ops import warp_cpu as planes
from RegRefineLib.ops.warp import warp

sizes = st.tuples(*[st.integers(2, 9)] * 3)


def _noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(sizes, sizes, st.integers(1, 3), st.floats(0.0, 6.0), st.integers(0, 99))
def test_any_displacement_samples_what_torch_samples(image, grid, channels, length, seed):
    volume = _noise(seed, 1, channels, *image)
    displacement = length * _noise(seed + 1, 1, 3, *grid)
    exact = warp(volume.double(), displacement.double(), padding="border")
    assert planes.fits(volume, displacement)
    found = planes.warped(volume, displacement)
    torch.testing.assert_close(found.double(), exact, atol=1e-3, rtol=0)


def test_a_large_volume_of_several_slabs_is_placed_to_a_thousandth_of_a_voxel():
    volume = _noise(0, 1, 1, 40, 96, 96)
    displacement = 8 * torch.nn.functional.interpolate(_noise(1, 1, 3, 4, 4, 4), (40, 96, 96))
    exact = warp(volume.double(), displacement.double(), padding="border")
    error = planes.warped(volume, displacement).double() - exact
    assert error.abs().max() < 1e-3 * 8  # noise changes by up to 8 from voxel to voxel


def test_nothing_of_the_next_plane_leaks_over_the_last_row():
    volume = torch.zeros(1, 1, 30, 50, 50)
    volume[:, :, 1::2] = 1e6
    found = planes.warped(volume, torch.zeros(1, 3, 30, 50, 50))
    assert found[:, :, ::2].abs().max() < 1e-3 * 1e6
    beyond = torch.zeros(1, 3, 30, 50, 50)
    beyond[:, 1] = 70.0
    assert planes.warped(volume, beyond)[:, :, ::2].abs().max() < 1e-3 * 1e6


def test_what_is_not_a_number_along_the_planes_stays_so_and_alone():
    volume = _noise(0, 1, 2, 6, 5, 4)
    displacement = torch.zeros(1, 3, 6, 5, 4)
    displacement[0, 0, 3, 2, 1] = float("nan")
    found = planes.warped(volume, displacement)
    wrong = found.isnan().any(dim=1)[0]
    assert wrong.nonzero().tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("image", "displacement"),
    [
        (torch.zeros(1, 1, 1, 5, 5), torch.zeros(1, 3, 1, 5, 5)),
        (torch.zeros(2, 1, 5, 5, 5), torch.zeros(2, 3, 5, 5, 5)),
        (torch.zeros(1, 1, 5, 5, 5).double(), torch.zeros(1, 3, 5, 5, 5).double()),
        (torch.zeros(1, 1, 5, 5, 5), torch.zeros(1, 3, 5, 5, 5, requires_grad=True)),
    ],
)
def test_thin_batched_double_and_differentiated_volumes_are_left_to_torch(image, displacement):
    assert not planes.fits(image, displacement)
    assert warp(image, displacement, padding="border", quick=True).shape == image.shape
