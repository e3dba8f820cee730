"""One kind of image or two: negatives and other contrasts are noticed, shading is not mistaken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.pyramid_pairs import QUICK, SHAPE, deformed_pair, error

from RegRefineLib.pair import Pair, ignore
from RegRefineLib.refine.pyramid.contrast import contrast_of
from RegRefineLib.refine.pyramid.descent import refine


def changed(pair: Pair, how) -> Pair:
    return replace(pair, moving=how(pair.moving))


def ramp(strength: float) -> torch.Tensor:
    return torch.exp(torch.linspace(-strength, strength, SHAPE[2])).view(1, 1, 1, 1, -1)


def test_a_pair_of_one_kind_is_one_also_shaded_and_with_other_gain():
    pair, _ = deformed_pair()
    for how in (lambda x: x, lambda x: 0.3 * x + 0.1, lambda x: x * ramp(0.7) / 2):
        assert not contrast_of(changed(pair, how), pair.zero()).two_kinds


@pytest.mark.parametrize("how", [lambda x: 1 - x, lambda x: (2 * x - 1).square()])
def test_other_contrasts_are_two_kinds(how):
    pair, _ = deformed_pair()
    assert contrast_of(changed(pair, how), pair.zero()).two_kinds


def test_two_kinds_are_registered_by_information_and_that_is_said():
    pair, truth = deformed_pair()
    negative = changed(pair, lambda x: 1 - x)
    found = refine(negative, pair.zero(), {**QUICK, "information": -1}, ignore)
    assert "two kinds" in found.remarks[0]
    assert error(found.displacement, truth) < 0.5 * error(pair.zero(), truth)
    assert not refine(pair, pair.zero(), {"levels": "4:1", "information": -1}, ignore).remarks


def test_masked_out_voxels_have_no_say():
    pair, _ = deformed_pair()
    half = torch.zeros_like(pair.fixed)
    half[..., : SHAPE[2] // 2] = 1
    mixed = replace(pair, moving=torch.where(half > 0, pair.moving, 1 - pair.moving))
    assert not contrast_of(replace(mixed, fixed_mask=half), pair.zero()).two_kinds
    empty = replace(pair, fixed=torch.zeros_like(half), moving=torch.zeros_like(half))
    assert not contrast_of(empty, pair.zero()).two_kinds
