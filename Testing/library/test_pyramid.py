"""The own refinement finds known deformations, without folds, with and without masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.pyramid_pairs import QUICK, SHAPE, deformed_pair, error, inner

from RegRefineLib.errors import RegRefineError, Stopped
from RegRefineLib.geometry import Geometry
from RegRefineLib.ops.warp import jacobian_determinant
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.pyramid.descent import refine
from RegRefineLib.refine.pyramid.settings import Pyramid


def test_a_known_deformation_is_found_to_a_fraction_of_a_voxel_without_folds():
    pair, truth = deformed_pair()
    result = refine(pair, pair.zero(), QUICK, ignore)
    assert error(result.displacement, truth) < 0.35 * error(pair.zero(), truth)
    assert error(result.displacement, truth) < 0.6
    assert float(jacobian_determinant(result.displacement).min()) > 0


def test_a_good_start_is_kept_and_not_changed_in_place():
    pair, truth = deformed_pair()
    start = truth.clone()
    result = refine(pair, start, {"levels": "1:5"}, ignore)
    assert torch.equal(start, truth)
    assert error(result.displacement, truth) < 0.3


def test_no_detail_of_a_start_is_lost_on_the_coarse_levels():
    pair, _ = deformed_pair()
    start = torch.rand((1, 3, *SHAPE), generator=torch.Generator().manual_seed(5)) * 0.3
    result = refine(pair, start, {"levels": "4:0 2:0"}, ignore)
    torch.testing.assert_close(result.displacement, start)


def test_where_the_moving_image_ends_is_no_edge_to_be_matched():
    pair, truth = deformed_pair()
    there = torch.zeros((1, 1, *SHAPE))
    there[..., 14:, :, :] = 1.0
    cut = Pair(pair.fixed, pair.moving * there, pair.geometry, moving_mask=there)
    near = (..., slice(14, 20), slice(6, -6), slice(6, -6))

    def missed(found: torch.Tensor) -> float:
        return float((found - truth)[near].norm(dim=1).mean())

    with_mask, without = (
        missed(refine(p, p.zero(), QUICK, ignore).displacement)
        for p in (cut, Pair(cut.fixed, cut.moving, cut.geometry))
    )
    assert with_mask < 0.9 * without


def test_through_thick_slices_nothing_moves_further_than_within_them():
    pair, _ = deformed_pair()
    thick = Geometry(SHAPE, np.diag([1.0, 1.0, 8.0, 1.0]))
    runs = [
        refine(Pair(pair.fixed, pair.moving, grid), pair.zero(), {"levels": "1:3"}, ignore)
        for grid in (pair.geometry, thick)
    ]
    cubic, sliced = (r.displacement.abs().amax(dim=(0, 2, 3, 4)) for r in runs)
    assert float(sliced[0]) < 0.2 * float(cubic[0])
    assert float(sliced[1:].min()) > 0.5 * float(cubic[1:].min())


def test_what_a_mask_leaves_out_does_not_matter():
    mask = torch.zeros((1, 1, *SHAPE))
    mask[..., 4:-4, 4:-4, 4:-4] = 1
    pair, _ = deformed_pair(fixed_mask=mask)
    noise = torch.rand(pair.fixed.shape) * (1 - mask)
    spoilt = Pair(pair.fixed + noise, pair.moving, pair.geometry, fixed_mask=mask)
    settings = {"levels": "1:5"}
    one, other = (refine(p, p.zero(), settings, ignore).displacement for p in (pair, spoilt))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_the_moving_mask_counts_too():
    mask = torch.zeros((1, 1, *SHAPE))
    mask[..., :16] = 1
    pair, _ = deformed_pair(moving_mask=mask)
    found = refine(pair, pair.zero(), {"levels": "1:8"}, ignore).displacement.abs()
    assert float(found[..., 26:].mean()) < 0.1 * float(found[..., 2:14].mean())


def test_a_flipped_pair_gives_the_flipped_field():
    pair, _ = deformed_pair()
    flipped = Pair(pair.fixed.flip(2), pair.moving.flip(2), pair.geometry)
    found = refine(pair, pair.zero(), QUICK, ignore).displacement
    mirrored = refine(flipped, flipped.zero(), QUICK, ignore).displacement.flip(2)
    mirrored[:, 0] *= -1
    assert float(inner(found - mirrored).abs().max()) < 0.05


def test_the_same_run_twice_is_identical():
    pair, _ = deformed_pair()
    one, other = (refine(pair, pair.zero(), QUICK, ignore).displacement for _ in range(2))
    assert torch.equal(one, other)


def test_stop_keeps_what_there_is():
    pair, truth = deformed_pair()

    def report(progress):
        if progress.step == 30:
            raise Stopped

    result = refine(pair, pair.zero(), QUICK, report)
    assert result.stopped_because == "stopped by the user"
    assert result.displacement.shape == (1, 3, *SHAPE)
    assert error(result.displacement, truth) < 0.6 * error(pair.zero(), truth)


def test_steps_are_dealt_out_in_the_levels_proportions():
    levels = "4:40 2:30 1:10"
    assert Pyramid(levels=levels, steps=8).level_list() == [(4, 4), (2, 3), (1, 1)]
    assert sum(steps for _, steps in Pyramid(levels=levels, steps=2).level_list()) == 2
    assert sum(steps for _, steps in Pyramid(levels=levels, steps=0).level_list()) == 0


def test_small_levels_take_more_steps_unless_their_number_is_given():
    pair, _ = deformed_pair()

    def taken(**settings) -> list[float]:
        asked = {"levels": "2:5 1:3", "patience_steps": 0, **settings}
        history = refine(pair, pair.zero(), asked, ignore).history
        return [sum(row["level"] == factor for row in history) for factor in (2, 1)]

    assert taken() == [5, 3]
    assert taken(small_steps=4) == [5, 4]
    assert taken(small_steps=4, steps=8) == [5, 3]
    assert taken(small_steps=4, levels="2:5 1:0") == [5, 0]


@pytest.mark.parametrize(
    "setting", [{"information": -2}, {"step": 1e30}, {"evenness": 2}, {"field_sigma": 1e6}]
)
def test_settings_out_of_range_are_named(setting):
    pair, _ = deformed_pair()
    with pytest.raises(RegRefineError, match=f"setting {next(iter(setting))}"):
        refine(pair, pair.zero(), setting, ignore)


@pytest.mark.parametrize("levels", ["", "4", "4:x", "0.5:10", "2:-1"])
def test_levels_that_make_no_sense_are_named(levels):
    pair, _ = deformed_pair()
    with pytest.raises(RegRefineError, match="levels"):
        refine(pair, pair.zero(), {"levels": levels}, ignore)
