"""From volumes to the pair: intensities, grids, masks, what does not meet."""

import numpy as np
import pytest
from support.small import grid, image_on

from RegRefineLib import intensity, prepare
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Volume
from RegRefineLib.job import INTENSITIES, Extras, Job

GRID = grid((12, 14, 16), (2.0, 2.0, 3.0))


def hounsfield() -> Volume:
    return Volume(np.linspace(-1500, 2000, 12 * 14 * 16).reshape(12, 14, 16), GRID)


@pytest.mark.parametrize("name", INTENSITIES)
def test_intensities_come_to_between_0_and_1(name):
    found = intensity.scaled(hounsfield(), name).array
    assert found.dtype == np.float32
    if name == "none":
        np.testing.assert_array_equal(found, hounsfield().array.astype(np.float32))
    else:
        assert (found.min(), found.max()) == (0, 1)


def test_ct_windows_are_fixed():
    found = intensity.scaled(hounsfield(), "ct").array
    np.testing.assert_allclose(found, np.clip((hounsfield().array + 1000) / 2000, 0, 1), atol=1e-6)
    found = intensity.scaled(hounsfield(), "ct-soft").array
    np.testing.assert_allclose(found, np.clip((hounsfield().array + 500) / 1300, 0, 1), atol=1e-6)


def test_mr_ends_at_the_99th_of_a_hundred_values():
    values = np.random.default_rng(0).permutation(np.arange(200.0) + 7).reshape(5, 5, 8)
    found = intensity.scaled(Volume(values, grid((5, 5, 8), (1, 1, 1))), "mr").array
    kth = np.sort(values.ravel())[int(0.99 * 200) - 1]
    np.testing.assert_allclose(found, np.clip((values - 7) / (kth - 7), 0, 1), atol=1e-6)
    flat = Volume(np.full((5, 5, 8), 3.0), grid((5, 5, 8), (1, 1, 1)))
    assert not intensity.scaled(flat, "mr").array.any()


def test_of_several_ranges_the_images_choose():
    ct, mr = hounsfield(), Volume(hounsfield().array + 1500, GRID)
    assert intensity.choose_intensity(("ct", "mr"), ct, ct) == "ct"
    assert intensity.choose_intensity(("ct", "mr"), mr, mr) == "mr"
    assert intensity.choose_intensity(("ct", "mr"), ct, mr) == "mr"
    assert intensity.choose_intensity(("minmax",), ct, ct) == "minmax"
    assert intensity.choose_intensity(("ct",), mr, mr) == "ct"


def test_scaling_does_not_see_the_units():
    image = image_on(GRID)
    other = Volume(image.array * 300 - 40, GRID)
    for name in ("minmax", "percentile"):
        np.testing.assert_allclose(
            intensity.scaled(other, name).array, intensity.scaled(image, name).array, atol=1e-5
        )


def test_the_working_grid_is_the_fixed_one_or_a_coarser_one_in_its_place():
    assert prepare.working_grid(GRID, 0.0) is GRID
    coarse = prepare.working_grid(GRID, 4.0)
    np.testing.assert_allclose(coarse.corners(), GRID.corners(), atol=1e-9)
    assert (coarse.spacing >= np.array([2.0, 2.0, 3.0])).all()
    with pytest.raises(RegRefineError, match="leaves 1 x 1 x 1 voxels"):
        prepare.working_grid(GRID, 500)


def test_volumes_apart_are_refused_unless_the_matrix_joins_them():
    far = grid((12, 14, 16), (2.0, 2.0, 3.0), middle=(400, 0, 0))
    with pytest.raises(RegRefineError, match="do not overlap"):
        prepare.check_overlap(GRID, far, np.eye(4))
    shift = np.eye(4)
    shift[0, 3] = 400
    prepare.check_overlap(GRID, far, shift)


def test_the_pair_lies_on_the_fixed_grid_seen_through_the_matrix():
    shift = np.eye(4)
    shift[:3, 3] = 4, -2, 3
    fixed = image_on(GRID, lambda p: p + shift[:3, 3])
    moving = image_on(grid((20, 22, 24), (1.8, 1.8, 2.0)))
    ones = Volume(np.ones(GRID.shape, np.uint16), GRID)
    extras = Extras(fixed_mask=ones, moving_labels=ones)
    pair = prepare.make_pair(fixed, moving, shift, Job(device="cpu"), extras)
    assert pair.fixed.shape == pair.moving.shape == (1, 1, *GRID.shape)
    assert (pair.fixed - pair.moving).abs().mean() < 0.02
    assert pair.fixed_mask.min() == 1
    assert pair.moving_mask is None
    assert pair.moving_labels.dtype.is_floating_point is False


def test_a_mask_that_the_working_grid_misses_is_told():
    array = np.zeros(GRID.shape, np.uint8)
    array[0, 0, 0] = 1
    extras = Extras(fixed_mask=Volume(array, GRID))
    job = Job(device="cpu", working_spacing_mm=6.0)
    with pytest.raises(RegRefineError, match="fixed mask: the mask is empty"):
        prepare.make_pair(image_on(GRID), image_on(GRID), np.eye(4), job, extras)


@pytest.mark.parametrize("matrix", [np.eye(3), np.diag([1, 0, 1, 1.0]), np.full((4, 4), np.inf)])
def test_a_matrix_must_be_a_regular_4x4(matrix):
    with pytest.raises(RegRefineError, match="initial transform"):
        prepare.check_matrix(matrix)


def test_a_moving_image_that_does_not_cover_the_fixed_one_says_where_it_lies():
    image = image_on(GRID)
    shift = np.eye(4)
    shift[0, 3] = 3 * GRID.spacing[0]
    job = Job(device="cpu")
    assert prepare.make_pair(image, image, np.eye(4), job, Extras()).moving_mask is None
    mask = prepare.make_pair(image, image, shift, job, Extras()).moving_mask
    assert mask is not None
    i_axis = mask.flatten(0, 3).all(dim=0), mask.flatten(0, 3).any(dim=0)
    assert int(i_axis[0].sum()) == int(i_axis[1].sum()) == 16 - 3
