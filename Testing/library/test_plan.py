"""The plan: what can be refused is refused before any stage has reported, whatever the method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small import grid, image_on, labels_on

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Volume
from RegRefineLib.job import Extras, Job, Progress
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.registration import register
from RegRefineLib.registry import REFINEMENTS, STARTS, settings_class
from RegRefineLib.settings import NamedNetwork, Setting, described
from RegRefineLib.weights.checkpoint import save

GRID = grid((20, 18, 22))
SMALL = {"encoder": [2, 3], "decoder": [3, 3, 2]}
METHODS = [("start", name) for name in STARTS] + [("refinement", name) for name in REFINEMENTS]
NETWORKS = [(k, n) for k, n in METHODS if issubclass(settings_class(k, n), NamedNetwork)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(path, VoxelMorph(**SMALL), "voxelmorph", SMALL)
    return str(path)


def job_of(kind: str, name: str, settings: dict[str, Any]) -> Job:
    """Return a job of that start or refinement, the other being none."""
    both = {"start": "none", "refinement": "none", kind: name}
    where = "start_settings" if kind == "start" else "settings"
    return Job(affine="rigid", device="cpu", **both, **{where: settings})


def refused(job: Job, match: str, extras: Extras | None = None) -> None:
    """Check that the job is refused in such words before anything has been reported."""
    heard: list[Progress] = []
    with pytest.raises(RegRefineError, match=match):
        register(image_on(GRID), image_on(GRID), job, heard.append, extras)
    assert heard == []


def given(kind: str, name: str, weights: str) -> dict[str, Any]:
    return {"weights": weights} if (kind, name) in NETWORKS else {}


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_an_unknown_setting_is_refused(kind: str, name: str, weights: str) -> None:
    extras = Extras(initial=np.eye(4)) if name == "initial" else None
    job = job_of(kind, name, {**given(kind, name, weights), "stepz": 3})
    refused(job, "unknown (setting|option) '?stepz", extras)


def wrong_values(each: Setting) -> list[Any]:
    """Return values that the setting may not take, by its declaration."""
    if each.choices:
        return ["nonsense", None]
    if isinstance(each.default, bool):
        return ["perhaps", None, 2]
    if isinstance(each.default, str):
        return [None, ["list"]]
    wrong: list[Any] = ["many", None, True, float("nan"), float("inf")]
    wrong += [1.5] if isinstance(each.default, int) else []
    wrong += [] if each.low is None else [each.low - 1]
    wrong += [] if each.above is None else [each.above]
    return wrong + ([] if each.high is None else [each.high + 1])


CASES = [
    pytest.param(kind, name, each.name, value, id=f"{name}-{each.name}-{value}")
    for kind, name in METHODS
    for each in described(settings_class(kind, name))
    for value in wrong_values(each)
]


@pytest.mark.parametrize(("kind", "name", "setting", "value"), CASES)
def test_a_wrong_value_is_refused_by_its_name(
    kind: str, name: str, setting: str, value: Any
) -> None:
    refused(job_of(kind, name, {setting: value}), f"setting {setting}|unknown {setting}")


@pytest.mark.parametrize(
    ("kind", "name", "settings", "words"),
    [
        ("refinement", "pyramid", {"levels": "4:x"}, "levels"),
        ("refinement", "pyramid", {"levels": "0.5:3"}, "levels"),
        ("refinement", "pyramid", {"levels": "nan:3"}, "levels"),
        ("refinement", "pyramid", {"window": 8}, "window: an odd width"),
        ("refinement", "pyramid", {"labels": 1}, "labels: segmentations of both"),
        ("refinement", "pyramid", {"landmarks": 0.5}, "landmarks: landmarks of both"),
        ("refinement", "reg-ttr", {"windows": "4:1"}, "windows: odd"),
        ("refinement", "reg-ttr", {"windows": "5"}, "windows: 'width:weight"),
        ("refinement", "reg-ttr", {"grid_sp": 11}, "grid_sp: at most 9"),
        ("refinement", "convexadam-adam", {"smoothing": 2}, "0 or an odd width"),
        ("refinement", "convexadam-adam", {"smoothing": 19}, "wider than the field"),
        ("refinement", "convexadam-adam", {"spacing": 19}, "do not fit in an image"),
        ("refinement", "convexadam-adam", {"recipe": "released", "spacing": 8}, "width 3"),
        ("start", "convexadam", {"spacing": 19}, "do not fit in an image"),
        ("start", "convexadam", {"spacing": 1, "reach": 100}, "GB for one table"),
        ("start", "syn", {"iterations": "40,x"}, "iterations: whole numbers"),
        ("start", "initial", {}, "give a transform"),
    ],
)
def test_what_a_range_cannot_say_is_refused_too(
    kind: str, name: str, settings: dict[str, Any], words: str
) -> None:
    refused(job_of(kind, name, settings), words)


def test_segmentations_without_a_common_label_cannot_steer() -> None:
    labels = labels_on(GRID)
    other = Volume(labels.array * 10, GRID)
    extras = Extras(fixed_labels=labels, moving_labels=other)
    refused(job_of("refinement", "pyramid", {"labels": 1}), "no label in common", extras)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(job_of("start", "syn", {}), r"pip install 'RegRefineLib\[syn\]'")


@pytest.mark.parametrize(("kind", "name"), NETWORKS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "name its weights"),
        ({"weights": ""}, "name its weights"),
        ({"weights": "nothing.pth"}, "no such file"),
        ({"weights": "unigradicn"}, "did you mean unigradicon"),
        ({"weights": "DAMAGED"}, "damaged|cannot be read|not a|unknown"),
        ({"weights": "SMALL", "network": "transmorph"}, "transmorph|TransMorph"),
        ({"weights": "SMALL", "network": "voxelmorf"}, "did you mean voxelmorph"),
        ({"weights": "SMALL", "like": "nobody"}, "unknown model"),
        ({"weights": "SMALL", "int_step": 7}, "unknown option int_step"),
        ({"weights": "SMALL", "encoder": "[4, 4]"}, "encoder|shape|fit"),
    ],
    ids=str,
)
def test_weights_that_cannot_be_used_are_refused(
    kind: str, name: str, settings: dict[str, Any], words: str, weights: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"these are no weights" * 10)
    places = {"SMALL": weights, "DAMAGED": str(damaged)}
    asked = {key: places.get(value, value) for key, value in settings.items()}
    refused(job_of(kind, name, asked), words)


def test_a_network_that_takes_no_field_cannot_go_on_from_one(weights: str) -> None:
    refused(job_of("refinement", "firework", {"weights": weights}), "cannot take a field")


def test_a_network_is_loaded_once(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from RegRefineLib.inference import load as loading

    calls = []

    def counting(*arguments: Any) -> Any:
        calls.append(arguments[0])
        return original(*arguments)

    original = loading.load
    monkeypatch.setattr(loading, "load", counting)
    job = job_of("start", "network", {"weights": weights}).replaced(affine="none")
    result = register(image_on(GRID), image_on(GRID), job)
    assert calls == [weights]
    assert result.job.start_settings == {"weights": weights}  # JSON, not the network itself


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_setting_says_what_it_is(kind: str, name: str) -> None:
    for each in described(settings_class(kind, name)):
        assert len(each.help) > 8
        assert "\n" not in each.help
        assert each.range
