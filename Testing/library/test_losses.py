"""Every similarity and regulariser by one contract, then what each alone promises."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from RegRefineLib import registry
from RegRefineLib.losses import mutual_information as mi
from RegRefineLib.losses.bending import bending_energy
from RegRefineLib.losses.global_ncc import global_ncc
from RegRefineLib.losses.jacobian import folding_penalty
from RegRefineLib.losses.lncc import lncc, lncc_squared
from RegRefineLib.losses.masked import masked_mean
from RegRefineLib.losses.mean_squares import mean_squares
from RegRefineLib.losses.mind import mind
from RegRefineLib.losses.smoothness import gradient_l1, gradient_l2
from RegRefineLib.ops.warp import identity

SHAPE = (17, 14, 19)
# voxels beyond the mask that a loss still sees; windows of the others stop at the mask
REACH = {"mind": 4}
# whole voxels are counted, so that their gradient is checked over longer ways
GIVEN_RANGE = ("mutual-information", "normalised-mutual-information")
INVARIANT = ("global-ncc", "mind", "mutual-information", "normalised-mutual-information")

similarities = pytest.mark.parametrize("name", registry.SIMILARITIES)
regularisers = pytest.mark.parametrize("name", registry.REGULARISERS)


def smooth(shape: tuple[int, ...], seed: int = 0, channels: int = 1) -> Tensor:
    """Low-passed noise in [0, 1], (1, C, D, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, channels, *[n // 3 + 2 for n in shape]), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    return (fine - fine.min()) / (fine.max() - fine.min())


def noise(shape: tuple[int, ...], seed: int = 0, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, channels, *shape), generator=generator, dtype=torch.float64)


def half_mask(shape: tuple[int, ...], planes: int) -> Tensor:
    mask = torch.zeros((1, 1, *shape))
    mask[:, :, :planes] = 1
    return mask


@similarities
def test_a_similarity_is_a_finite_number_with_a_gradient(name):
    moving = smooth(SHAPE, 1).requires_grad_()
    value = registry.find("similarity", name)(smooth(SHAPE), moving)
    (gradient,) = torch.autograd.grad(value, moving)
    assert value.shape == ()
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@similarities
def test_a_mask_of_ones_changes_no_similarity(name):
    loss = registry.find("similarity", name)
    fixed, moving = smooth(SHAPE), smooth(SHAPE, 1)
    everywhere = torch.ones_like(fixed)
    torch.testing.assert_close(
        loss(fixed, moving, everywhere), loss(fixed, moving), rtol=1e-5, atol=1e-6
    )


@similarities
def test_voxels_outside_the_mask_do_not_change_a_similarity(name):
    loss = registry.find("similarity", name)
    fixed, moving, mask = smooth(SHAPE), smooth(SHAPE, 1), half_mask(SHAPE, 9)
    other = moving.clone()
    other[:, :, 9 + REACH.get(name, 0) :] = smooth(SHAPE, 2)[:, :, 9 + REACH.get(name, 0) :]
    torch.testing.assert_close(loss(fixed, other, mask), loss(fixed, moving, mask))
    assert loss(fixed, other) != loss(fixed, moving)


@similarities
def test_no_gradient_comes_from_outside_the_mask(name):
    moving, mask = smooth(SHAPE, 1).requires_grad_(), half_mask(SHAPE, 9)
    value = registry.find("similarity", name)(smooth(SHAPE), moving, mask)
    (gradient,) = torch.autograd.grad(value, moving)
    assert gradient[:, :, 9 + REACH.get(name, 0) :].abs().max() == 0
    assert gradient[:, :, :9].abs().max() > 0


@similarities
def test_an_image_is_most_like_itself(name):
    loss = registry.find("similarity", name)
    fixed = smooth(SHAPE)
    least = loss(fixed, fixed)
    for other in (
        smooth(SHAPE, 1),
        fixed.roll(1, 2),
        fixed.flip(3),
        0.5 * (fixed + fixed.roll(1, 4)),
    ):
        assert loss(fixed, other) > least


@similarities
def test_flat_images_give_a_number(name):
    moving = torch.full((1, 1, *SHAPE), 0.3).requires_grad_()
    value = registry.find("similarity", name)(torch.full_like(moving, 0.3), moving)
    (gradient,) = torch.autograd.grad(value, moving)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [n for n in registry.SIMILARITIES if n not in GIVEN_RANGE])
def test_a_similarity_has_the_gradient_of_its_value(name, masked):
    loss = registry.find("similarity", name)
    fixed, moving = noise((6, 6, 6)), noise((6, 6, 6), 1).requires_grad_()
    mask = noise((6, 6, 6), 2) if masked else None
    assert gradcheck(lambda x: loss(fixed, x, mask), (moving,), fast_mode=True)


@pytest.mark.parametrize("name", INVARIANT)
def test_intensities_may_be_scaled_and_shifted(name):
    loss = registry.find("similarity", name)
    fixed, moving = smooth(SHAPE).double(), smooth(SHAPE, 1).double()
    torch.testing.assert_close(loss(fixed * 300 - 100, moving * 7 + 2), loss(fixed, moving))


@regularisers
def test_a_regulariser_is_zero_for_translations_and_grows_with_roughness(name):
    loss = registry.find("regulariser", name)
    still = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    rough = (12 * (smooth(SHAPE, 3, channels=3) - 0.5)).requires_grad_()
    value = loss(rough)
    (gradient,) = torch.autograd.grad(value, rough)
    assert loss(still) == pytest.approx(0, abs=1e-9)
    assert value.shape == ()
    assert value > 0
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@regularisers
def test_a_mask_of_ones_changes_no_regulariser(name):
    loss, rough = registry.find("regulariser", name), 12 * smooth(SHAPE, 3, channels=3)
    torch.testing.assert_close(loss(rough, torch.ones((1, 1, *SHAPE))), loss(rough))


@regularisers
def test_voxels_outside_the_mask_do_not_change_a_regulariser(name):
    loss, mask = registry.find("regulariser", name), half_mask(SHAPE, 9)
    rough = 12 * smooth(SHAPE, 3, channels=3)
    other = rough.clone()
    other[:, :, 9:] = 12 * smooth(SHAPE, 4, channels=3)[:, :, 9:]
    torch.testing.assert_close(loss(other, mask), loss(rough, mask))
    assert loss(other) != loss(rough)


@pytest.mark.parametrize("masked", [False, True])
@regularisers
def test_a_regulariser_has_the_gradient_of_its_value(name, masked):
    loss = registry.find("regulariser", name)
    rough = (6 * (noise((6, 5, 6), 3, channels=3) - 0.5)).requires_grad_()
    mask = noise((6, 5, 6), 2) if masked else None
    assert gradcheck(lambda u: loss(u, mask), (rough,), fast_mode=True)


@regularisers
def test_a_single_slice_is_taken(name):
    flat = smooth((1, 8, 9), channels=3)
    if name == "folding":
        flat = flat.expand(1, 3, 2, 8, 9)  # a determinant needs two voxels along each axis
    assert registry.find("regulariser", name)(flat).isfinite()


def test_the_mean_over_an_empty_mask_is_zero():
    assert masked_mean(torch.ones(1, 2, 3, 3, 3), torch.zeros(1, 1, 3, 3, 3)) == 0


def test_a_mask_weighs_every_channel_and_image_alike():
    values = torch.stack([torch.full((2, 2, 2, 2), v) for v in (1.0, 3.0)])
    mask = torch.zeros(1, 1, 2, 2, 2)
    mask[..., 0] = 0.5
    assert masked_mean(values, mask) == pytest.approx(2.0)


def test_mean_squares_of_a_known_difference():
    fixed = torch.zeros(1, 1, 2, 2, 2)
    mask = torch.ones_like(fixed)
    mask[..., 1] = 0
    moving = 2 * mask + 5 * (1 - mask)
    assert mean_squares(fixed, moving) == pytest.approx((4 + 25) / 2)
    assert mean_squares(fixed, moving, mask) == pytest.approx(4)


def test_global_ncc_runs_from_0_for_alike_to_2_for_inverted():
    image = smooth(SHAPE)
    assert global_ncc(image, image) == pytest.approx(0, abs=1e-6)
    assert global_ncc(image, 1 - image) == pytest.approx(2, abs=1e-6)
    assert global_ncc(image, torch.zeros_like(image)) == pytest.approx(1)


def test_lncc_heeds_the_sign_of_contrast_and_its_square_does_not():
    image = noise(SHAPE).float()
    inside = torch.zeros_like(image)
    inside[..., 8:-8, 6:-6, 8:-8] = 1  # the zeros beyond the border are no part of the contrast
    assert lncc(image, 1 - image, inside, sigma=2) > 1.9
    assert lncc(image, 1 - image, inside, sigma=2, squared=True) < 0.1
    assert lncc_squared(image, image) < 0.01


def test_whole_windows_see_beyond_the_mask():
    fixed, moving, mask = smooth(SHAPE), smooth(SHAPE, 1), half_mask(SHAPE, 9)
    other = moving.clone()
    other[:, :, 9:] = 0
    strict = [lncc(fixed, m, mask, sigma=2) for m in (moving, other)]
    whole = [lncc(fixed, m, mask, sigma=2, whole_windows=True) for m in (moving, other)]
    torch.testing.assert_close(strict[0], strict[1])
    assert whole[0] != pytest.approx(float(whole[1]), abs=1e-3)


def test_mind_and_mutual_information_match_inverted_contrast():
    fixed = smooth((24, 24, 24))
    for loss in (mind, mi.mutual_information):
        assert loss(fixed, 1 - fixed) == pytest.approx(float(loss(fixed, fixed)), abs=1e-4)


def test_mutual_information_of_unrelated_images_is_small_and_of_itself_the_entropy():
    one, other = noise((30, 30, 30)), noise((30, 30, 30), 1)
    assert -0.02 < mi.mutual_information(one, other, bins=16) < 0
    # a B-spline window spreads each of the uniform intensities over some bins of log(16)
    assert -2.77 < mi.mutual_information(one, one, bins=16) < -1.2


def test_mutual_information_is_the_same_in_chunks_of_any_size(monkeypatch):
    fixed, moving = noise((6, 7, 8)), noise((6, 7, 8), 1).requires_grad_()
    found = []
    for size in (1 << 16, 50):
        monkeypatch.setattr(mi, "_CHUNK", size)
        value = mi.mutual_information(fixed, moving)
        found.append((value, torch.autograd.grad(value, moving)[0]))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_mutual_information_has_the_slope_of_its_value(monkeypatch, normalised, masked):
    shape = (30, 30, 30)
    fixed, noisy, way = smooth(shape), smooth(shape, 1), smooth(shape, 2) - 0.5
    mask = smooth(shape, 3) if masked else None
    moving = (1 - fixed + 0.3 * noisy).requires_grad_()

    def loss(image: Tensor) -> Tensor:
        return mi.mutual_information(
            fixed, image, mask, bins=16, limits=(0.1, 1.1), normalised=normalised
        )

    (gradient,) = torch.autograd.grad(loss(moving), moving)
    # voxels are counted in parts of a bin; with narrow ones the value changes smoothly
    monkeypatch.setattr(mi, "PARTS_OF_BIN", 64)
    ahead, behind = (loss(moving.detach() + t * way) for t in (0.02, -0.02))
    assert float((gradient * way).sum()) == pytest.approx(float(ahead - behind) / 0.04, rel=0.04)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 3e38])
def test_mutual_information_counts_what_is_not_finite_somewhere(odd):
    fixed, moving = smooth((8, 8, 8)), smooth((8, 8, 8), 1)
    moving[0, 0, 1, 2, 3], moving[0, 0, 3, 2, 1] = odd, -odd
    moving.requires_grad_()
    (gradient,) = torch.autograd.grad(mi.mutual_information(fixed, moving), moving)
    assert gradient.isfinite().all()


def test_mutual_information_of_a_flat_image_pulls_nowhere():
    flat = torch.full((1, 1, 6, 6, 6), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(mi.mutual_information(smooth((6, 6, 6)), flat), flat)
    assert not gradient.any()


def test_mutual_information_over_an_empty_mask_is_zero():
    nowhere = torch.zeros(1, 1, 6, 6, 6)
    assert mi.mutual_information(noise((6, 6, 6)), noise((6, 6, 6), 1), nowhere) == 0


def test_mutual_information_wants_enough_bins():
    with pytest.raises(ValueError, match="bins: 8 or more"):
        mi.mutual_information(noise((4, 4, 4)), noise((4, 4, 4)), bins=4)


def test_smoothness_of_a_linear_field_is_its_slope():
    field = torch.zeros(1, 3, 5, 6, 7)
    field[:, 1] = 0.5 * identity((5, 6, 7), field)[:, 2]
    # one of three components along one of three axes
    assert gradient_l1(field) == pytest.approx(0.5 / 9)
    assert gradient_l2(field) == pytest.approx(0.25 / 9)
    assert gradient_l2(field, scales=(1, 1, 2)) == pytest.approx(1 / 9)


def test_bending_of_affine_fields_is_zero_and_of_quadratic_ones_their_curvature():
    x = identity((6, 7, 8), torch.zeros((), dtype=torch.float64))
    matrix = torch.tensor([[0.1, 0.2, -0.3], [0.0, 0.4, 0.1], [0.2, 0.0, -0.2]]).double()
    affine = torch.einsum("ca,nadhw->ncdhw", matrix, x)
    assert bending_energy(affine) == pytest.approx(0, abs=1e-20)
    square, product = torch.zeros_like(x), torch.zeros_like(x)
    square[:, 0] = 0.5 * x[:, 1] ** 2
    product[:, 2] = x[:, 0] * x[:, 1]
    assert bending_energy(square) == pytest.approx(1 / 3)
    assert bending_energy(product) == pytest.approx(2 / 3)


def test_folding_counts_how_far_determinants_fall_short():
    mirrored = torch.zeros(1, 3, 5, 6, 7)
    mirrored[:, 0] = -2 * identity((5, 6, 7), mirrored)[:, 0]
    assert folding_penalty(mirrored) == pytest.approx(1.05)
    assert folding_penalty(mirrored, least=0) == pytest.approx(1)
    assert folding_penalty(0.4 * mirrored) == 0  # squeezed to a fifth, not folded
