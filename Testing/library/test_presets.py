"""Presets fill what a job leaves open, and their settings fit their refinement."""

import pytest

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import PRESETS, resolve


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_a_whole_job_of_names_that_exist(name):
    job = resolve(Job(preset=name))
    for field in ("affine", "start", "refinement", "intensity", "working_spacing_mm"):
        assert getattr(job, field) is not None
    registry.find("start", job.start)
    registry.find("refinement", job.refinement)
    assert resolve(job) == job
    assert Job.from_json(job.to_json()) == job


def test_what_the_job_says_wins():
    job = resolve(Job(preset="released", settings={"clip": 0.5}, affine="rigid"))
    assert job.settings["clip"] == 0.5
    assert job.settings["plateau"] is True
    assert job.affine == "rigid"


def test_another_refinement_does_not_get_the_presets_settings():
    job = resolve(Job(preset="released", refinement="convexadam-adam", settings={"steps": 3}))
    assert job.settings == {"steps": 3}


def test_a_preset_is_not_changed_by_its_use():
    resolve(Job(preset="released", settings={"clip": 9})).settings["keep"] = "last"
    assert resolve(Job(preset="released")).settings["clip"] == 1.0
    assert resolve(Job(preset="released")).settings["keep"] == "after-best"


def test_an_unknown_preset_brings_the_nearest():
    with pytest.raises(RegRefineError, match="did you mean reg-ttr-released"):
        resolve(Job(preset="realeased"))
