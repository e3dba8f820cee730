"""The end is never worse than the start: a verdict decides, and a sentence says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.pyramid_pairs import QUICK, deformed_pair, error

from RegRefineLib.errors import Stopped
from RegRefineLib.pair import ignore
from RegRefineLib.refine.pyramid import descent, measure
from RegRefineLib.refine.pyramid.descent import refine
from RegRefineLib.refine.pyramid.settings import Pyramid


def test_the_truth_is_judged_better_than_nothing_and_than_noise():
    pair, truth = deformed_pair()
    noise = 3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    nothing, right, wrong = measure.verdicts(pair, [pair.zero(), truth, noise], Pyramid())
    assert nothing.is_worse_than(right)
    assert wrong.is_worse_than(nothing)
    assert not right.is_worse_than(nothing)
    assert not right.is_worse_than(right)


def test_either_measure_can_say_no():
    fine = measure.Verdict(0.5, 1.0)
    assert measure.Verdict(0.51, 2.0).is_worse_than(fine)
    assert measure.Verdict(0.4, 0.9).is_worse_than(fine)
    assert not measure.Verdict(0.4, 0.9999).is_worse_than(fine)


def test_an_end_that_is_worse_gives_the_start_back_with_a_sentence(monkeypatch):
    pair, truth = deformed_pair()

    def spoilt(displacement, *_):
        return displacement + 4 * torch.rand(displacement.shape)

    monkeypatch.setattr(descent, "repair_folds", spoilt)
    found = refine(pair, truth, {"levels": "4:2"}, ignore)
    assert torch.equal(found.displacement, truth)
    assert "its start was kept" in found.remarks[-1]


def test_a_stop_in_the_first_steps_does_not_end_below_the_start():
    pair, truth = deformed_pair()

    def report(progress):
        raise Stopped

    for start in (pair.zero(), truth):
        found = refine(pair, start, QUICK, report)
        assert error(found.displacement, truth) <= error(start, truth) + 0.02


def test_guided_by_labels_the_images_are_no_judges():
    pair, _ = deformed_pair()
    labels = (pair.fixed > 0.5).to(torch.int16)
    guided = replace(pair, fixed_labels=labels, moving_labels=labels)
    found = refine(guided, pair.zero(), {"levels": "2:3", "labels": 1}, ignore)
    assert not any("start was kept" in remark for remark in found.remarks)


@pytest.mark.parametrize("similarity", ["ncc", "mutual-information", "mind"])
def test_any_similarity_judges(similarity):
    pair, truth = deformed_pair()
    nothing, right = measure.verdicts(pair, [pair.zero(), truth], Pyramid(similarity=similarity))
    assert right.loss < nothing.loss
