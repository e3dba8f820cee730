"""The Method section as a Job: choices, knobs, presets of one's own, lists, the small curve."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import fields

import pytest
from RegRefineBridge.panel import choice_lists as lists
from RegRefineBridge.panel.panel import polyline
from RegRefineBridge.workflow.job_choices import (
    KNOBS,
    Catalogue,
    Choices,
    UserPreset,
    describe,
    effortOf,
    jobOf,
    missingWeights,
    needsWeights,
    stepsOf,
)
from RegRefineBridge.workflow.preset_file import loadPresets, savePresets
from support.paths import ROOT

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import PRESETS, resolve

OWN = UserPreset("mine", Job(refinement="reg-ttr", settings={"steps": 30}), "thirty steps")
ALL = Catalogue({"mine": OWN})


def job(**chosen) -> Job:
    return jobOf(Choices(**chosen), ALL)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_is_that_preset(preset):
    assert resolve(job(preset=preset)) == resolve(Job(preset=preset))


def test_what_is_chosen_wins_over_the_preset():
    made = job(affine="rigid", refinement="reg-ttr", steps=25, spacingMm=2.0, device="cpu")
    whole = resolve(made)
    assert (whole.affine, whole.settings["steps"]) == ("rigid", 25)
    assert (whole.working_spacing_mm, whole.device) == (2.0, "cpu")


def test_smoothness_is_a_factor_of_what_the_preset_has():
    assert job(refinement="reg-ttr", smoothness=2.0).settings["smooth_weight"] == 2.0
    stiff = Catalogue(
        {"stiff": UserPreset("stiff", Job(refinement="reg-ttr", settings={"smooth_weight": 3.0}))}
    )
    made = jobOf(Choices(preset="stiff", smoothness=2.0), stiff)
    assert made.settings["smooth_weight"] == 6.0
    assert "smooth_weight" not in job(refinement="reg-ttr").settings


def test_another_refinement_lets_go_of_settings_it_does_not_know():
    assert job(preset="mine", refinement="convexadam-adam").settings == {}
    assert job(preset="mine", refinement="none", steps=9, similarity="ncc").settings == {}


def test_the_panel_s_default_of_levels_is_the_pyramid_s_own():
    from RegRefineBridge.workflow.job_choices import LEVELS

    from RegRefineLib.refine.pyramid.settings import Pyramid

    assert Pyramid().levels == LEVELS


def test_weights_go_where_a_network_is():
    made = job(backbone="network", model="unigradicon", refinement="network-io")
    assert made.start_settings["weights"] == "unigradicon"
    assert made.settings["weights"] == "unigradicon"
    assert needsWeights(made)
    assert job(model="m", refinement="firework").settings["weights"] == "m"
    assert job(model="unigradicon").start_settings == {}
    assert missingWeights(job(backbone="network")) != ""
    assert missingWeights(made) == ""
    mine = job(backbone="network", model="unigradicon", weightsFile="/nowhere/mine.pth")
    assert "/nowhere/mine.pth" in missingWeights(mine)


def test_an_unknown_preset_is_said():
    with pytest.raises(RegRefineError, match="not loaded"):
        job(preset="gone")


@pytest.mark.parametrize("name", sorted(set(KNOBS) & set(registry.REFINEMENTS) - {"none"}))
def test_knobs_are_the_refinement_s_own_settings_and_defaults(name):
    module = importlib.import_module(
        f"RegRefineLib.{registry.REFINEMENTS[name].target.partition(':')[0]}"
    )
    knobs = [knob for knob in KNOBS[name] if knob is not None]
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
    ]
    settings = next(
        kind for kind in kinds if {k.name for k in knobs} <= {f.name for f in fields(kind)}
    )
    for knob in knobs:
        assert getattr(settings(), knob.name) == knob.default


def test_steps_and_words_of_a_job():
    assert stepsOf(Job(refinement="reg-ttr")) == 10
    assert stepsOf(Job(refinement="none")) == 0
    words = describe(Job(affine="rigid", refinement="reg-ttr", working_spacing_mm=2.0))
    assert words == "rigid, reg-ttr (10 steps), 2 mm voxels"
    assert "resampling" in describe(Job(affine="none", start="none", refinement="none"))


def test_a_pyramid_s_steps_are_those_of_its_levels_and_coarse_ones_are_cheap():
    levels = Job(refinement="pyramid", settings={"levels": "4:64 2:16 1:10"})
    assert stepsOf(levels) == 90
    assert effortOf(levels) == pytest.approx(1 + 2 + 10)
    half = levels.replaced(settings={**levels.settings, "steps": 45})
    assert stepsOf(half) == 45
    assert effortOf(half) == pytest.approx(6.5)
    assert effortOf(Job(refinement="reg-ttr")) == 10
    assert stepsOf(levels.replaced(settings={"levels": "nonsense"})) == 0


def test_presets_of_one_s_own_survive_their_file(tmp_path):
    path = tmp_path / "presets.json"
    savePresets(path, [OWN])
    assert loadPresets(path) == [OWN]
    assert ALL.names() == [*PRESETS, "mine"]
    assert ALL.help("mine") == "thirty steps"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("no json", "no JSON"),
        ("{}", "no file of presets"),
        ('{"format": "RegRefine presets", "version": 9, "presets": []}', "version"),
        ('{"format": "RegRefine presets", "version": 1}', "damaged"),
        (
            json.dumps(
                {
                    "format": "RegRefine presets",
                    "version": 1,
                    "presets": [{"name": "default", "job": {}}],
                }
            ),
            "RegRefine's own",
        ),
        (
            json.dumps(
                {
                    "format": "RegRefine presets",
                    "version": 1,
                    "presets": [{"name": "x", "job": {"sharpness": 1}}],
                }
            ),
            "sharpness",
        ),
    ],
)
def test_a_wrong_file_of_presets_is_said(tmp_path, content, word):
    path = tmp_path / "presets.json"
    path.write_text(content)
    with pytest.raises(RegRefineError, match=word):
        loadPresets(path)


def test_a_file_that_is_not_there_or_cannot_be_written_is_said(tmp_path):
    with pytest.raises(RegRefineError, match="cannot be read"):
        loadPresets(tmp_path / "none.json")
    (tmp_path / "no").write_text("a file where a folder is needed")
    with pytest.raises(RegRefineError, match="is not a folder"):
        savePresets(tmp_path / "no" / "folder.json", [OWN])


def test_lists_have_every_row_and_leave_the_first_to_the_preset():
    for kind, table in (
        (lists.Backbone, registry.STARTS),
        (lists.Refinement, registry.REFINEMENTS),
    ):
        rows = list(kind)
        assert rows[0].value == ""
        assert [row.value for row in rows[1:]] == list(table)
        assert len({row.label() for row in rows}) == len(rows)
    assert {row.value for row in lists.Similarity} == {"", "ncc+ssim", *registry.SIMILARITIES}


def test_models_are_those_of_models_json(tmp_path):
    names = json.loads((ROOT / "models" / "models.json").read_text())["models"]
    assert lists.modelNames() == list(names)
    assert lists.modelNames(tmp_path) == []


def test_the_curve_fills_its_rectangle():
    points = polyline([3.0, 1.0, 2.0], 106, 56, margin=3)
    assert points == [(3, 3), (53, 53), (103, 28)]
    assert polyline([1.0], 100, 50) == []
    assert [y for _, y in polyline([1.0, 1.0], 100, 50)] == [25, 25]
    assert len(polyline([1.0, math.nan, 2.0], 100, 50)) == 2
