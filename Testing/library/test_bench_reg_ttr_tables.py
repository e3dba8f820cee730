"""The paper's tables as a command, on a cohort of two tiny scans that lie as ACDC does."""

from __future__ import annotations

import numpy as np
import pytest

from RegRefineLib.bench import sweep
from RegRefineLib.bench.reg_ttr_tables import STEPS, cohort_cases, variants
from RegRefineLib.bench.tools import tool_named
from RegRefineLib.cli import main
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import write_volume
from RegRefineLib.job import Job
from RegRefineLib.presets import resolve

pytest.importorskip("RegRefineLib.bench.cohorts")


@pytest.fixture
def acdc(tmp_path):
    generator = np.random.default_rng(0)
    grid = Geometry.from_parts((16, 24, 24), (1.8, 1.8, 10), np.eye(3), (0, 0, 0))
    for part, number in (("train", 1), ("test", 101)):
        (tmp_path / part).mkdir()
        for phase in ("ed", "es"):
            stem = tmp_path / part / f"patient{number:03d}_{phase}"
            image = generator.random(grid.shape, dtype=np.float32)
            write_volume(Volume(image, grid), f"{stem}_img.nii.gz")
            labels = (image > 0.5).astype(np.uint8)
            write_volume(Volume(labels, grid), f"{stem}_seg.nii.gz")
    return tmp_path


def test_the_test_split_alone_is_run_in_both_directions(acdc):
    cases = cohort_cases("acdc", acdc)
    assert sorted(case.name for case in cases) == [
        "acdc patient101_ed_img<-patient101_es_img",
        "acdc patient101_es_img<-patient101_ed_img",
    ]
    fixed, moving = cases[0].images()
    assert fixed.array.min() == 0
    assert fixed.array.max() == 1
    assert cases[0].label_maps()[1].geometry.same_grid(moving.geometry)


def test_rows_are_before_and_after_with_and_without_ssim():
    rows = variants("acdc")
    assert {"none before", "convexadam before"} <= set(rows)
    assert {f"none n={n}" for n in STEPS} <= set(rows)
    jobs = {
        name: resolve(Job(preset="released", **tool_named(name, rows).settings["job"]))
        for name in rows
    }
    assert jobs["convexadam before"].refinement == "none"
    assert jobs["convexadam n=10"].start == "convexadam"
    ten = jobs["none n=10"].settings
    assert (ten["steps"], ten["learning_rate"], ten["warp"]) == (10, 0.025, "reg-ttr")
    assert jobs["none n=10 without SSIM"].settings["ssim_weight"] == 0


def test_the_command_runs_a_dataset(acdc, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "execute", lambda *_: {"dice": 0.5, "cpu_s": 1.0})
    words = ["bench", "--dataset", "acdc", "--root", str(acdc), "--pairs", "1", "--threads", "1"]
    results = ["--results", str(tmp_path / "r.jsonl")]
    assert main([*words, *results, "--tools", "none n=2"]) == 0
    assert "| none n=2 | 1 |" in capsys.readouterr().out
    assert main(["bench", "--dataset", "acdc", *results]) == 2
    assert "--root" in capsys.readouterr().err
