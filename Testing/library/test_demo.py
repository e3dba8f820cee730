"""The demo from a pair made here: it registers, measures, writes and draws; no network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from RegRefineLib.demo import pairs
from RegRefineLib.demo import run as demo
from RegRefineLib.demo.pairs import Sample
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import read_labels, read_volume

GRID = Geometry((28, 30, 32), np.diag([2.0, 2.0, 2.0, 1.0]))


def body(centre: tuple[float, float, float], radius: float) -> tuple[Volume, Volume]:
    points = GRID.points() - GRID.centre
    distance = np.linalg.norm((points - centre) / radius, axis=-1)
    image = -900 + 1000 / (1 + np.exp(8 * (distance - 1))) + 150 * np.sin(points[..., 0] / 4)
    labels = (distance < 1).astype(np.int16) * 5
    return Volume(image.astype(np.float32), GRID), Volume(labels, GRID)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = body((0, 0, 0), 18.0), body((3, -2, 1), 14.0)
    pair = Sample(
        fixed[0], moving[0], fixed[1], moving[1], {5: "liver"}, ("made here, no licence",)
    )
    monkeypatch.setattr(pairs, "fetch", lambda *_, **__: pair)
    plan = demo._PLANS["chest"]
    quick = plan.job.replaced(affine="centre")  # the search for the linear part has its own tests
    monkeypatch.setitem(demo._PLANS, "chest", plan._replace(job=quick))


@pytest.mark.usefixtures("no_network")
def test_the_demo_registers_measures_writes_and_draws(tmp_path: Path) -> None:
    stages: list[str] = []
    done = demo.run(
        tmp_path / "out", "chest", device="cpu", report=lambda p: stages.append(p.stage)
    )
    assert done.stages["after"]["dice"]["mean"] > done.stages["before"]["dice"]["mean"] + 0.05
    assert {"affine", "refine", "finish"} <= set(stages)
    assert all(path.is_file() for path in done.files.values())
    wanted = {"transform.nrrd", "warped.nii.gz", "warped_labels.nii.gz", "result.json"}
    assert wanted <= {path.name for path in done.files.values()}
    assert read_volume(done.files["warped"]).geometry.same_grid(GRID)
    assert read_labels(done.files["warped_segmentation"]).names == {5: "liver"}
    assert json.loads(done.files["result"].read_text())["job"]["intensity"] == "ct"
    assert imread(done.files["overview"]).shape[1] > 1500
    assert done.sources == ("made here, no licence",)


def test_every_sample_has_a_plan_that_a_preset_knows() -> None:
    from RegRefineLib.presets import resolve

    assert set(demo._PLANS) == set(pairs.names())
    for plan in demo._PLANS.values():
        assert resolve(plan.job).refinement != "none"


def test_an_unknown_sample_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RegRefineError, match="known: chest"):
        demo.run(tmp_path / "out", "knee")
    assert list(tmp_path.iterdir()) == []
