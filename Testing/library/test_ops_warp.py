"""Warping, composition, integration, inversion, determinants, resizing, and the way to mm."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.analytic import field_on, geometries
from torch import Tensor

from RegRefineLib.geometry import Geometry
from RegRefineLib.ops import warp as w

SHAPE = (9, 11, 8)


def smooth_field(shape: tuple[int, ...] = SHAPE, size: float = 0.8, seed: int = 0) -> Tensor:
    """A smooth displacement without folds, fading to zero on the border, float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, 3, 5, 5, 5), generator=generator, dtype=torch.float64)
    inner = F.pad(coarse[:, :, 1:-1, 1:-1, 1:-1], [1] * 6)
    field = F.interpolate(inner, shape, mode="trilinear", align_corners=True)
    return size * field / field.abs().max()


def image(shape: tuple[int, ...] = SHAPE, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, channels, *shape), generator=generator, dtype=torch.float64)


def affine_field(matrix: Tensor, offset: Tensor, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """u(x) = matrix x + offset, x in voxels."""
    x = w.identity(shape, matrix)
    return torch.einsum("ca,nadhw->ncdhw", matrix, x) + offset.view(1, 3, 1, 1, 1)


def matrix(seed: int, size: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * (2 * torch.rand((3, 3), generator=generator, dtype=torch.float64) - 1)


# warping


def test_no_displacement_changes_nothing():
    x = image()
    for padding in ("zeros", "border", "cut"):
        torch.testing.assert_close(
            w.warp(x, torch.zeros(1, 3, *SHAPE).double(), padding=padding), x
        )


def test_no_displacement_keeps_every_label():
    labels = torch.randint(0, 60000, (1, 1, 13, 7, 10)).float()
    still = torch.zeros(1, 3, 13, 7, 10)
    for padding in ("zeros", "border", "cut"):
        assert torch.equal(w.warp(labels, still, mode="nearest", padding=padding), labels)


def test_nearest_makes_no_new_labels():
    labels = torch.randint(0, 5, (1, 1, *SHAPE)).double() * 7
    warped = w.warp(labels, 3 * smooth_field(), mode="nearest")
    assert set(warped.unique().tolist()) <= set(labels.unique().tolist()) | {0.0}


def test_component_c_moves_along_array_axis_c():
    x = w.identity(SHAPE, torch.zeros((), dtype=torch.float64))
    u = smooth_field()
    torch.testing.assert_close(w.warp(x, u, padding="border"), (x + u))


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_warping_agrees_with_scipy(seed):
    x, u = image(seed=seed), 4 * smooth_field(seed=seed) + 0.3
    positions = (w.identity(SHAPE, u) + u)[0].numpy()
    inside = [(p >= 0) & (p <= n - 1) for p, n in zip(positions, SHAPE, strict=True)]
    expected = ndimage.map_coordinates(x[0, 0].numpy(), positions, order=1, mode="nearest")
    np.testing.assert_allclose(w.warp(x, u, padding="border")[0, 0], expected, atol=1e-12)
    cut = np.where(np.all(inside, axis=0), expected, 0)
    np.testing.assert_allclose(w.warp(x, u, padding="cut")[0, 0], cut, atol=1e-12)
    assert not np.all(inside)


def test_the_displacement_may_have_another_grid_than_the_image():
    x, u = image(), torch.full((1, 3, 3, 4, 5), 1.0, dtype=torch.float64)
    torch.testing.assert_close(w.warp(x, u), x[:, :, 1:4, 1:5, 1:6])


def test_sample_reads_positions_and_warp_displacements():
    x, u = image(channels=2), smooth_field()
    positions = w.identity(SHAPE, u) + u
    torch.testing.assert_close(w.sample(x, positions), w.warp(x, u))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_thin_images_are_taken(n):
    x = image((n, 6, 7))
    torch.testing.assert_close(w.warp(x, torch.zeros(1, 3, n, 6, 7).double()), x)


def test_unknown_conventions_are_named():
    with pytest.raises(ValueError, match="convention: one of exact"):
        w.warp(image(), smooth_field(), convention="exactly")


def test_conventions_move_as_documented():
    x, u = image(), smooth_field()
    sizes = torch.tensor(SHAPE).double().view(1, 3, 1, 1, 1)
    stretch = sizes / (sizes - 1)
    grid = w.identity(SHAPE, u)
    stretched = w.warp(x, u * stretch)
    torch.testing.assert_close(w.warp(x, u, convention="reg-ttr")[..., 1:-1], stretched[..., 1:-1])
    shifted = w.sample(x, (grid + u) * stretch - 0.5)
    torch.testing.assert_close(w.warp(x, u, convention="half-voxel"), shifted)


@pytest.mark.parametrize("convention", w.CONVENTIONS)
def test_a_field_of_any_convention_can_be_made_exact(convention):
    x, u = image(), smooth_field()
    exact = w.to_exact(u, convention) if convention != "exact" else u
    torch.testing.assert_close(w.warp(x, exact), w.warp(x, u, convention=convention))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9)])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("convention", w.CONVENTIONS)
def test_sharing_points_out_to_threads_changes_no_value_and_no_gradient(
    monkeypatch, threads, shape, mode, convention
):
    x, found = image(shape, channels=2), []
    for count in (1, threads):  # odd sizes cannot be shared and take the plain way
        monkeypatch.setattr(torch, "get_num_threads", lambda n=count: n)
        u = (3 * smooth_field(shape)).requires_grad_()
        warped = w.warp(x, u, mode=mode, convention=convention)
        (gradient,) = torch.autograd.grad((warped * image(shape, 2, seed=1)).sum(), u)
        found.append((warped.detach(), gradient))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0].shape == x.shape


def test_images_that_need_a_gradient_get_it(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    # away from whole voxels, where linear interpolation has a kink
    x, u = image().requires_grad_(), (0.3 * smooth_field() + 0.4).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: w.warp(a, b), (x, u), fast_mode=True)


# composition, integration, inversion


def test_composition_of_affine_fields_is_the_affine_of_the_product():
    a, b = matrix(0, 0.03), matrix(1, 0.03)
    centre = torch.tensor([4.0, 5.0, 3.5]).double()
    outer, inner = affine_field(a, -a @ centre), affine_field(b, -b @ centre)
    one = torch.eye(3).double()
    product = (one + a) @ (one + b) - one
    expected = affine_field(product, -product @ centre)
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))  # beyond the border u is constant
    torch.testing.assert_close(w.compose(outer, inner)[inside], expected[inside])


def test_warping_twice_is_warping_by_the_composition():
    x = w.identity(SHAPE, torch.zeros((), dtype=torch.float64))  # linear: interpolated exactly
    first, second = smooth_field(seed=1), smooth_field(seed=2)
    twice = w.warp(w.warp(x, first, padding="border"), second, padding="border")
    once = w.warp(x, w.compose(first, second), padding="border")
    torch.testing.assert_close(twice, once)


@pytest.mark.parametrize("steps", [0, 4, 7])
def test_the_exponential_of_a_constant_is_itself(steps):
    velocity = torch.tensor([0.4, -0.2, 0.7]).double().view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    torch.testing.assert_close(w.integrate(velocity, steps, padding="border"), velocity)


def test_the_exponential_of_a_linear_velocity_is_the_matrix_exponential():
    a = matrix(3, 0.06)
    centre = torch.tensor([4.0, 5.0, 3.5]).double()
    expected = torch.linalg.matrix_exp(a) - torch.eye(3).double()
    found = w.integrate(affine_field(a, -a @ centre), 12, padding="border")
    inner = (..., slice(3, -3), slice(3, -3), slice(3, -3))
    wanted = affine_field(expected, -expected @ centre)
    torch.testing.assert_close(found[inner], wanted[inner], atol=2e-4, rtol=0)


def test_the_exponential_of_the_negative_is_the_inverse():
    velocity = smooth_field((24, 22, 26), 1.5)
    there, back = w.integrate(velocity), w.integrate(-velocity)
    assert w.inverse_error(there, back).max() < 0.1
    assert w.inverse_error(there, back).mean() < 0.01


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), size=st.floats(0.1, 1.2))
def test_the_inverse_takes_every_point_back(seed, size):
    u = smooth_field((12, 10, 14), size, seed)
    assume(w.jacobian_determinant(u).min() > 0.25)  # nearly folded fields take ever more steps
    inverse = w.invert(u, steps=300, tolerance_voxels=1e-4)
    assert w.inverse_error(u, inverse).max() < 2e-4


def test_the_inverse_of_a_translation_is_its_negative():
    u = torch.tensor([1.5, -2.0, 0.25]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    torch.testing.assert_close(w.invert(u), -u)


def test_a_field_with_folds_gives_the_best_iterate_not_the_last():
    u = smooth_field((10, 10, 10), 9.0)
    found = w.inverse_error(u, w.invert(u, steps=40)).mean()
    for steps in (1, 5, 20):
        assert found <= w.inverse_error(u, w.invert(u, steps=steps)).mean() + 1e-12


# determinants


def test_the_determinant_of_an_affine_field_is_the_matrix_one_everywhere():
    a = matrix(5, 0.4)
    found = w.jacobian_determinant(affine_field(a, torch.zeros(3).double()))
    expected = torch.linalg.det(torch.eye(3).double() + a)
    torch.testing.assert_close(found, expected.expand(1, 1, *SHAPE))


def test_the_determinant_of_a_smooth_field_is_the_analytic_one():
    x = w.identity((40, 6, 40), torch.zeros((), dtype=torch.float64))
    u = torch.zeros_like(x)
    u[:, 0], u[:, 2] = 2 * torch.sin(x[:, 0] / 9), 1.5 * torch.cos(x[:, 2] / 8 + 1)
    expected = (1 + 2 / 9 * torch.cos(x[:, :1] / 9)) * (1 - 1.5 / 8 * torch.sin(x[:, 2:] / 8 + 1))
    inner = (..., slice(1, -1), slice(None), slice(1, -1))
    found = w.jacobian_determinant(u)
    torch.testing.assert_close(found[inner], expected[inner], atol=1.5e-3, rtol=0)


@pytest.mark.parametrize("depth", [3, w.SLAB_PLANES, w.SLAB_PLANES + 1, 2 * w.SLAB_PLANES + 5])
def test_the_determinant_knows_nothing_of_its_slabs(depth):
    u = smooth_field((depth, 6, 7), 2.0)
    mirrored = w.jacobian_determinant(torch.stack([-u[:, 0], u[:, 1], u[:, 2]], dim=1).flip(2))
    torch.testing.assert_close(w.jacobian_determinant(u), mirrored.flip(2))


def test_the_determinant_is_the_change_of_volume_under_the_exponential():
    velocity = smooth_field((24, 22, 26), 2.0)
    assert w.jacobian_determinant(w.integrate(velocity)).min() > 0  # diffeomorphic
    assert w.jacobian_determinant(smooth_field((10, 10, 10), 9.0)).min() < 0  # this one folds


# resizing


@pytest.mark.parametrize("shape", [(18, 22, 16), (5, 6, 4), (9, 30, 8)])
def test_resizing_keeps_a_translation_in_millimetres(shape):
    u = torch.tensor([1.0, -2.0, 0.5]).double().view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    scale = torch.tensor(shape).double() / torch.tensor(SHAPE)
    expected = (u[:, :, :1, :1, :1] * scale.view(1, 3, 1, 1, 1)).expand(1, 3, *shape)
    torch.testing.assert_close(w.resize(u, shape), expected)


def test_resizing_follows_the_resized_geometry():
    grid = Geometry(SHAPE, np.diag([2.0, 1.0, 3.0, 1.0]))
    larger = grid.resized((18, 22, 16))
    a = matrix(6, 0.2)
    u = affine_field(a, torch.tensor([1.0, 0.5, -1.0]).double())
    found = w.to_millimetres(w.resize(u, larger.shape), larger).vectors
    points = larger.points()
    index = torch.from_numpy(grid.to_index(points)[..., ::-1].copy())
    moved = index @ a.T + torch.tensor([1.0, 0.5, -1.0]).double()
    expected = moved.numpy()[..., ::-1] @ grid.affine[:3, :3].T
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=1e-5)


def test_resizing_to_the_same_size_changes_nothing():
    u = smooth_field()
    assert w.resize(u, SHAPE) is u


# millimetres


@settings(deadline=None, max_examples=25)
@given(geometry=geometries(extent_mm=12.0))
def test_millimetres_and_back_is_the_same_field(geometry):
    u = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, *geometry.shape))).float()
    field = w.to_millimetres(u, geometry)
    torch.testing.assert_close(w.from_millimetres(field), u, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(geometry=geometries(extent_mm=12.0))
def test_voxels_displace_to_where_millimetres_do(geometry):
    field = field_on(geometry)
    u = w.from_millimetres(field)
    moved = (w.identity(geometry.shape, u) + u)[0].numpy()
    index = np.moveaxis(moved[::-1], 0, -1)  # (i, j, k)
    expected = geometry.points() + field.vectors
    np.testing.assert_allclose(geometry.to_ras(index), expected, atol=1e-4)


def test_a_field_in_voxels_takes_dtype_and_device_of_another_tensor():
    geometry = Geometry(SHAPE, np.eye(4))
    like = torch.zeros((), dtype=torch.float64)
    assert w.from_millimetres(field_on(geometry), like).dtype == torch.float64
