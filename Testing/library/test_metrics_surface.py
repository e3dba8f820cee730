"""Surface distances of cubes, worked out by hand, and beside the surface-distance package."""

import math

import numpy as np
import pytest
import surface_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from RegRefineLib.metrics import surface
from RegRefineLib.metrics.surface import border_distances, surface_distances

BOTH = [surface_distances, border_distances]


def cube(side, at, shape=(20, 20, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, a + side) for a in at)] = True
    return mask


def test_area_of_a_cube_has_cut_edges_and_corners():
    mask = cube(4, (3, 3, 3))
    found = surface_distances(mask, mask, (1, 1, 1))
    faces, edges, corners = 6 * 3**2, 12 * 3 * math.sqrt(0.5), 8 * math.sqrt(3) / 8
    assert found.fixed_areas.sum() == pytest.approx(faces + edges + corners)


def test_area_follows_the_spacing_of_each_axis():
    mask = np.zeros((9, 40, 40), dtype=bool)
    mask[4:, 2:-2, 2:-2] = True  # the face across axis 0 measures 35 x 35 voxels
    flat = surface_distances(mask, mask, (1e-6, 2, 3)).fixed_areas.sum()
    assert flat == pytest.approx(2 * 35 * 2 * 35 * 3, rel=0.06)
    sides = surface_distances(mask, mask, (1e3, 2, 3)).fixed_areas.sum()
    assert sides == pytest.approx(5 * 1e3 * 2 * (35 * 2 + 35 * 3), rel=0.06)


def test_border_voxels_of_a_cube_are_its_shell():
    found = border_distances(cube(4, (3, 3, 3)), cube(1, (5, 5, 5)), (1, 1, 1))
    assert len(found.from_fixed) == 4**3 - 2**3
    assert len(found.from_warped) == 1


@pytest.mark.parametrize("measure", BOTH)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_cube_is_as_far_as_its_shift_in_mm(measure, axis):
    spacing = (0.7, 1.3, 2.1)
    at = [4, 4, 4]
    at[axis] += 3
    found = measure(cube(8, (4, 4, 4)), cube(8, at), spacing)
    for figure in (surface.hausdorff, surface.hausdorff_each, surface.hausdorff_pooled):
        assert figure(found, 100) == pytest.approx(3 * spacing[axis])
    assert surface.hausdorff(found, 95) == pytest.approx(3 * spacing[axis])
    assert surface.mean_distances(found)[0] == pytest.approx(surface.mean_distances(found)[1])


def test_average_of_two_single_voxels_and_a_pair_is_of_all_directions_together():
    fixed, warped = cube(1, (5, 5, 5)), cube(1, (5, 5, 7)) | cube(1, (5, 5, 9))
    found = border_distances(fixed, warped, (1, 1, 3))
    assert found.from_fixed.tolist() == [6]
    assert found.from_warped.tolist() == [6, 12]
    assert surface.assd(found) == pytest.approx((6 + 6 + 12) / 3)
    assert surface.mean_distances(found) == (6, 9)
    assert surface.hausdorff_pooled(found, 50) == 6
    assert surface.hausdorff_each(found, 50) == 9
    assert surface.surface_dice(found, 6) == pytest.approx(2 / 3)
    assert surface.overlap_at_tolerance(found, 6) == (1, 0.5)


@pytest.mark.parametrize("measure", BOTH)
def test_a_mask_is_at_no_distance_from_itself(measure):
    found = measure(cube(5, (2, 3, 4)), cube(5, (2, 3, 4)), (1, 2, 3))
    assert surface.hausdorff(found, 100) == 0
    assert surface.assd(found) == 0
    assert surface.surface_dice(found, 0) == 1


@pytest.mark.parametrize("measure", BOTH)
def test_an_empty_mask_is_infinitely_far(measure):
    mask = cube(3, (2, 2, 2))
    empty = np.zeros_like(mask)
    for found in (measure(mask, empty, (1, 1, 1)), measure(empty, mask, (1, 1, 1))):
        assert surface.hausdorff(found) == math.inf
        assert surface.hausdorff_each(found) == math.inf
        assert surface.hausdorff_pooled(found) == math.inf
        assert surface.assd(found) == math.inf
        assert surface.mean_distances(found) == (math.inf, math.inf)
        assert surface.surface_dice(found, 1e9) == 0
        assert surface.overlap_at_tolerance(found, 1e9) == (0, 0)


@pytest.mark.parametrize("measure", BOTH)
def test_two_empty_masks_have_no_distance(measure):
    nothing = np.zeros((4, 4, 4), dtype=bool)
    found = measure(nothing, nothing, (1, 1, 1))
    assert math.isnan(surface.hausdorff(found))
    assert math.isnan(surface.hausdorff_each(found))
    assert math.isnan(surface.hausdorff_pooled(found))
    assert math.isnan(surface.assd(found))
    assert math.isnan(surface.surface_dice(found, 1))
    assert all(math.isnan(v) for v in surface.mean_distances(found))


def test_a_mask_that_fills_the_volume_still_has_a_surface():
    whole = np.ones((3, 3, 3), dtype=bool)
    assert surface_distances(whole, whole, (1, 1, 1)).fixed_areas.sum() > 24
    assert len(border_distances(whole, whole, (1, 1, 1)).from_fixed) == 26


def random_masks(seed):
    noise = np.random.default_rng(seed).standard_normal((2, 11, 9, 10))
    return [ndimage.gaussian_filter(part, 1.5) > 0.05 for part in noise]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.sampled_from([0.7, 1.0, 1.8, 10.0])] * 3))
@pytest.mark.skipif(not hasattr(ndimage, "morphology"), reason="the package needs an older scipy")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_figures_are_those_of_the_surface_distance_package(seed, spacing):
    a, b = random_masks(seed)
    if not (a.any() and b.any()):
        return
    ours = surface_distances(a, b, spacing)
    theirs = surface_distance.compute_surface_distances(a, b, spacing)
    np.testing.assert_allclose(ours.from_fixed, theirs["distances_gt_to_pred"], rtol=1e-12)
    np.testing.assert_allclose(ours.from_warped, theirs["distances_pred_to_gt"], rtol=1e-12)
    for percent in (50, 95, 100):
        wanted = surface_distance.compute_robust_hausdorff(theirs, percent)
        assert surface.hausdorff(ours, percent) == pytest.approx(wanted, rel=1e-12)
    wanted = surface_distance.compute_average_surface_distance(theirs)
    assert surface.mean_distances(ours) == pytest.approx(wanted, rel=1e-12)
    for tolerance in (0.5, 1.7, 4):
        wanted = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert surface.surface_dice(ours, tolerance) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (10, 1.25, 1.25), (0.7, 1.3, 2.1), (1e-3, 2, 3)])
def test_near_and_far_distances_are_those_of_a_distance_map(spacing):
    """A few elements per row are beyond the neighbours that are looked at first, most are not."""
    generator = np.random.default_rng(3)
    of = generator.random((24, 20, 26)) < 0.3
    to = generator.random(of.shape) < 0.004
    to[:, :, :13] |= generator.random((24, 20, 13)) < 0.2
    wanted = ndimage.distance_transform_edt(~to, sampling=spacing)[of]
    np.testing.assert_allclose(surface._nearest(of, to, spacing), wanted, rtol=1e-12)
    assert np.isinf(surface._nearest(of, np.zeros_like(to), spacing)).all()
    assert surface._nearest(np.zeros_like(to), to, spacing).shape == (0,)
    if spacing == (1, 1, 1):
        assert (wanted > 4).sum() > 300
        assert (wanted < 2).sum() > 1000


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_border_distances_are_those_of_a_distance_map(seed):
    a, b = random_masks(seed)
    spacing = (1.8, 0.7, 10.0)
    edges = [m & ~ndimage.binary_erosion(m) for m in (a, b)]
    if not (a.any() and b.any()):
        return
    wanted = ndimage.distance_transform_edt(~edges[1], sampling=spacing)[edges[0]]
    found = border_distances(a, b, spacing)
    np.testing.assert_allclose(found.from_fixed, np.sort(wanted), rtol=1e-12)


def test_mistakes_are_named():
    mask = cube(2, (1, 1, 1))
    with pytest.raises(ValueError, match="masks"):
        surface_distances(mask, mask[1:], (1, 1, 1))
    for spacing in ((1, 1), (1, 1, 0), (1, 1, math.nan)):
        with pytest.raises(ValueError, match="spacing"):
            border_distances(mask, mask, spacing)
