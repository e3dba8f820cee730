"""The Method section as a Job: choices, knobs, presets of one's own, lists, the small curve."""

from __future__ import annotations

import json
import math
import re

import pytest
from RegRefineBridge.panel import choice_lists as lists
from RegRefineBridge.panel.curve import polyline
from RegRefineBridge.workflow.job_choices import (
    SMOOTHNESS,
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
from RegRefineBridge.workflow.method_view import methodView, presetRows
from RegRefineBridge.workflow.panel_words import inPanel
from RegRefineBridge.workflow.preset_file import loadPresets, savePresets
from RegRefineBridge.workflow.settings_list import (
    ELSEWHERE,
    REFINEMENT,
    read,
    rowsOf,
    settingsOf,
    written,
    wrong,
)
from RegRefineBridge.workflow.weights import networkRows, removeFetched
from support.paths import ROOT

from RegRefineLib import registry
from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.presets import FORMER_NAMES, PRESETS, resolve
from RegRefineLib.weights.catalogue import catalogue

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


@pytest.mark.parametrize("name", registry.REFINEMENTS)
def test_what_the_panel_turns_are_settings_of_the_refinement(name):
    """Steps, smoothness, similarity: where the method has them, its own default is what counts."""
    known = settingsOf(REFINEMENT, Job(refinement=name))
    made = job(refinement=name, steps=7, smoothness=2.0, similarity="ncc")
    assert set(made.settings) <= set(known)
    if "steps" in known:
        assert (stepsOf(made), stepsOf(Job(refinement=name)) > 0) == (7, True)
    smoothness = SMOOTHNESS.get(name)
    if smoothness:
        assert made.settings[smoothness] == 2.0 * known[smoothness].default


def test_landmarks_and_segmentations_guide_where_the_refinement_knows_how():
    made = job(landmarks=0.5, labels=1.0, symmetric=True)
    assert made.settings == {"landmarks": 0.5, "labels": 1.0, "symmetric": True}
    assert job(refinement="reg-ttr", landmarks=0.5, symmetric=True).settings == {}


def test_a_gpu_has_a_number():
    assert job(device="cuda", gpu=2).device == "cuda:2"
    assert job(device="cuda").device == "cuda"
    assert job(device="cpu", gpu=2).device == "cpu"


def test_single_settings_win_and_stay_with_their_method():
    kept = written(REFINEMENT, "pyramid", "", {"window": 9})
    kept = written(REFINEMENT, "reg-ttr", kept, {"clip": 1.0})
    assert read(REFINEMENT, "pyramid", kept) == {"window": 9}
    assert written(REFINEMENT, "reg-ttr", kept, {}) == '{"refinement pyramid": {"window": 9}}'
    assert read(REFINEMENT, "pyramid", "no json") == {}
    made = job(settings={"window": 9, "clip": 1.0}, steps=5)
    assert made.settings == {"window": 9, "steps": 5}
    assert wrong(made) == ""
    assert "window" in wrong(job(settings={"window": 8}))
    assert "steps" in wrong(job(settings={"small_steps": "many"}))


def test_the_form_shows_what_the_run_takes_and_marks_what_was_changed():
    made = job(settings={"window": 9})
    rows = {row.setting.name: row for row in rowsOf(REFINEMENT, Job(), made)}
    assert (rows["window"].value, rows["window"].changed) == (9, True)
    assert (rows["small_steps"].value, rows["small_steps"].changed) == (40, False)  # the preset's
    assert "odd number" in rows["window"].tip
    assert "default 7" in rows["window"].tip
    assert not set(rows) & ELSEWHERE


def test_the_method_says_what_the_preset_takes_and_whether_it_is_changed():
    method = methodView(ALL, "default", job(), lists.readable)
    assert not method.changed
    assert method.taken["refinement"] == "Diffeomorphic, coarse to fine"
    assert method.taken["steps"] == "90"
    changed = methodView(ALL, "default", job(affine="rigid"), lists.readable)
    assert changed.changed
    assert [row.text for row in changed.presets if row.name == "default"] == ["default (changed)"]
    assert not methodView(ALL, "default", job(device="cpu"), lists.readable).changed
    assert "network" in methodView(ALL, "default", job(backbone="network"), lists.readable).applies


def test_published_methods_stand_under_a_heading_of_their_own():
    rows = presetRows(ALL, "default", False)
    heading = next(i for i, row in enumerate(rows) if row.text == "Reg-TTR as published")
    assert {row.name for row in rows[heading + 1 :]} == {n for n in PRESETS if "reg-ttr" in n}
    assert all("folds 1 to 2 %" in row.tip for row in rows[heading:])
    assert not set(FORMER_NAMES) & {row.text for row in rows}


def test_a_former_name_of_a_preset_in_a_saved_scene_is_known():
    assert (
        resolve(job(preset="released")).settings == resolve(job(preset="reg-ttr-released")).settings
    )


def test_steps_and_words_of_a_job():
    assert stepsOf(Job(refinement="reg-ttr")) == 10
    assert stepsOf(Job(refinement="none")) == 0
    words = describe(Job(affine="rigid", refinement="reg-ttr", working_spacing_mm=2.0))
    assert words.split(" \N{RIGHTWARDS ARROW} ") == ["rigid", "reg-ttr (10 steps)", "2 mm voxels"]
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


def test_models_are_those_of_models_json(tmp_path, monkeypatch):
    names = json.loads((ROOT / "models" / "models.json").read_text())["models"]
    assert lists.modelNames() == list(names)
    monkeypatch.setenv("REGREFINE_MODELS", str(tmp_path))
    assert lists.modelNames() == []
    (tmp_path / "models.json").write_text("{")
    assert lists.modelNames() == []


def test_networks_are_listed_by_organ_kind_of_image_size_licence_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("REGREFINE_CACHE", str(tmp_path))
    rows = {row.name: row for row in networkRows()}
    assert rows["regrefine-brain"].text == "Brain, T1 MR: regrefine-brain (here)"
    assert "to be fetched, about 283 MB" in rows["unigradicon"].text
    assert "Licence: Apache-2.0" in rows["unigradicon"].tip
    assert not rows["unigradicon"].fetched
    file = catalogue()["unigradicon"].file
    (tmp_path / "models" / "unigradicon").mkdir(parents=True)
    (tmp_path / "models" / "unigradicon" / file).write_bytes(b"x")
    assert next(row for row in networkRows() if row.name == "unigradicon").fetched
    assert removeFetched(["unigradicon", "multigradicon"]) == ["unigradicon"]
    assert not any(row.fetched for row in networkRows())


def test_the_curve_fills_its_rectangle():
    points = polyline([3.0, 1.0, 2.0], 106, 56, margin=3)
    assert points == [(3, 3), (53, 53), (103, 28)]
    assert polyline([1.0], 100, 50) == []
    assert [y for _, y in polyline([1.0, 1.0], 100, 50)] == [25, 25]
    assert len(polyline([1.0, math.nan, 2.0], 100, 50)) == 2


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("start from their centres with --affine centre+affine, or give --init", "Centres, then"),
        ("device: no cuda here; use --device auto or cpu", "Automatic or CPU"),
        ("what is compared; see `regrefine list similarities`", "what is compared"),
        ("start initial: give a transform with --init", "Start from"),
        ("weights: a model of `regrefine models list` or the path of a file; required", "a model"),
    ],
)
def test_the_library_s_sentences_name_the_panel_s_controls(sentence, words):
    said = inPanel(sentence)
    assert words in said
    assert "--" not in said
    assert "regrefine" not in said


def test_no_setting_s_tip_has_words_of_the_command_line():
    for kind, table in (("refinement", registry.REFINEMENTS), ("start", registry.STARTS)):
        for name in table:
            for row in rowsOf(kind, Job(), Job(**{kind: name})):
                assert not re.search("--|regrefine ", row.tip), row.tip
