"""The command line: what each command writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.command_line import refused, registers, run, write_inputs
from support.small import bend

from RegRefineLib import cli
from RegRefineLib.io import landmarks
from RegRefineLib.io import volumes as files
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.weights import checkpoint


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def test_register_writes_its_files_and_a_table(capsys, inputs, tmp_path):
    labels = ("--fixed-labels", inputs / "fixed_labels.nii.gz")
    labels += ("--moving-labels", inputs / "moving_labels.nrrd")
    points = ("--fixed-landmarks", inputs / "fixed.fcsv")
    points += ("--moving-landmarks", inputs / "moving.fcsv")
    more = ("--inverse", "--jacobian", *labels, *points)
    status, out, err = run(capsys, *registers(inputs, tmp_path / "a" / "b", *more))
    assert status == 0, err
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert names == {
        "transform.nrrd",
        "affine.tfm",
        "warped.nii.gz",
        "warped_labels.nii.gz",
        "jacobian.nii.gz",
        "inverse.nrrd",
        "result.json",
    }
    for word in ("Dice", "HD95 (mm)", "TRE (mm)", "before", "after", "seconds on"):
        assert word in out
    result = json.loads((tmp_path / "a" / "b" / "result.json").read_text())
    assert result["job"]["settings"]["steps"] == 2
    assert len(result["history"]) == 2
    assert set(result["after"]["dice"]) == {"mean", "1", "2", "3"}
    assert {"prepare", "start", "refine", "finish"} <= set(result["seconds"])


@pytest.mark.parametrize(("more", "used"), [((), "ct-soft"), (("--intensity", "mr"), "mr")])
def test_a_networks_intensities_are_used_unless_others_are_chosen(
    capsys, inputs, tmp_path, more, used
):
    small = {"encoder": [4, 4], "decoder": [4, 4, 4]}
    saying = {"preprocessing": {"intensity": ["ct-soft"]}}
    checkpoint.save(tmp_path / "w", VoxelMorph(**small), "voxelmorph", small, saying)
    words = registers(inputs, tmp_path / "out", "--weights", tmp_path / "w", *more)
    status, _, err = run(capsys, *words)
    assert status == 0, err
    assert json.loads((tmp_path / "out" / "result.json").read_text())["job"]["intensity"] == used


def test_missing_weights_are_told_before_the_alignment(capsys, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("RegRefineLib.registration.align", lambda *_, **__: pytest.fail("aligned"))
    monkeypatch.setenv("REGREFINE_CACHE", str(tmp_path / "cache"))
    words = registers(inputs, tmp_path / "out", "--affine", "affine", "--weights", "unigradicon")
    assert "get it with `regrefine models fetch unigradicon`" in refused(capsys, *words)


def test_itk_warps_by_the_transform_as_register_did(capsys, inputs, tmp_path):
    run(capsys, *registers(inputs, tmp_path, "--init", inputs / "field.nrrd"))
    field = sitk.ReadImage(str(tmp_path / "transform.nrrd"), sitk.sitkVectorFloat64)
    moved = sitk.Resample(
        sitk.ReadImage(str(inputs / "moving.nrrd")),
        sitk.ReadImage(str(inputs / "fixed.nii.gz")),
        sitk.DisplacementFieldTransform(field),
        sitk.sitkLinear,
    )
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warped.nii.gz")))
    np.testing.assert_allclose(sitk.GetArrayFromImage(moved), ours, atol=2e-5)


def test_events_are_json_lines_and_the_last_names_the_files(capsys, inputs, tmp_path):
    status, out, err = run(capsys, *registers(inputs, tmp_path, "--events"))
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert err == ""
    assert [e["event"] for e in events[:-1]] == ["progress"] * (len(events) - 1)
    stages = list(dict.fromkeys(e["stage"] for e in events[:-1]))
    assert stages == ["affine", "prepare", "start", "refine", "finish"]
    steps = [e for e in events[:-1] if e["loss"]]
    assert [e["step"] for e in steps] == [0, 1]
    assert {"similarity", "smoothness", "total"} == set(steps[0]["loss"])
    assert "folds_percent" in steps[-1]["metrics"]
    assert events[-1]["event"] == "done"
    assert Path(events[-1]["files"]["transform"]).is_file()
    assert out.isascii()


def test_labels_on_another_grid_are_resampled_with_a_warning(capsys, inputs, tmp_path):
    labels = ("--fixed-labels", inputs / "coarse_labels.nrrd")
    labels += ("--moving-labels", inputs / "moving_labels.nrrd")
    status, _, err = run(capsys, *registers(inputs, tmp_path, *labels))
    assert status == 0
    assert "warning: fixed labels: on another grid than its image" in err
    assert json.loads((tmp_path / "result.json").read_text())["warnings"]


@pytest.mark.parametrize("output", ["moved.nii.gz", "moved.nrrd", "new/moved.mha"])
def test_apply_moves_an_image_onto_the_grid_of_the_field(capsys, inputs, tmp_path, output):
    status, out, _ = run(
        capsys,
        "apply",
        inputs / "field.nrrd",
        inputs / "moving.nrrd",
        "-o",
        tmp_path / output,
    )
    assert status == 0
    assert out.strip() == str(tmp_path / output)
    moved = files.read_volume(tmp_path / output)
    fixed = files.read_volume(inputs / "fixed.nii.gz")
    assert moved.geometry.same_grid(fixed.geometry)
    assert np.abs(moved.array - fixed.array).mean() < 0.01


def test_apply_keeps_labels_labels(capsys, inputs, tmp_path):
    words = ("apply", inputs / "shift.tfm", inputs / "moving_labels.nrrd", "--labels")
    words += ("--reference", inputs / "fixed.nii.gz", "-o", tmp_path / "l.nii.gz")
    assert run(capsys, *words)[0] == 0
    assert set(np.unique(files.read_labels(tmp_path / "l.nii.gz").volume.array)) == {0, 1, 2, 3}


@pytest.mark.parametrize("transform", ["field.nrrd", "shift.tfm"])
def test_apply_moves_landmarks_from_fixed_to_moving(capsys, inputs, tmp_path, transform):
    words = ("apply", inputs / transform, inputs / "fixed.fcsv", "-o", tmp_path / "p.mrk.json")
    assert run(capsys, *words)[0] == 0
    _, before = landmarks.read_landmarks(inputs / "fixed.fcsv")
    _, moved = landmarks.read_landmarks(tmp_path / "p.mrk.json")
    wanted = before + (bend(before) if transform == "field.nrrd" else np.array([1, 2, -1]))
    np.testing.assert_allclose(moved, wanted, atol=0.1 if transform == "field.nrrd" else 1e-4)


def evaluates(inputs: Path, *more):
    return (
        "evaluate",
        "--fixed-labels",
        inputs / "fixed_labels.nii.gz",
        "--moving-labels",
        inputs / "moving_labels.nrrd",
        *more,
    )


def test_evaluate_shows_that_the_true_field_is_better_than_none(capsys, inputs):
    images = ("--fixed", inputs / "fixed.nii.gz", "--moving", inputs / "moving.nrrd", "--json")
    images += ("--fixed-landmarks", inputs / "fixed.fcsv")
    images += ("--moving-landmarks", inputs / "moving.fcsv")
    before = json.loads(run(capsys, *evaluates(inputs, *images))[1])
    after = json.loads(
        run(capsys, *evaluates(inputs, *images, "--transform", inputs / "field.nrrd"))[1]
    )
    assert after["dice"]["mean"] > before["dice"]["mean"]
    assert after["ncc"] > max(before["ncc"], 0.99)
    assert after["tre_mm"] < 0.15 < before["tre_mm"]


def test_evaluate_judges_landmarks_through_a_matrix_alone(capsys, inputs):
    points = ("--fixed-landmarks", inputs / "fixed.fcsv")
    points += ("--moving-landmarks", inputs / "fixed.fcsv")
    words = ("evaluate", *points, "--transform", inputs / "shift.tfm", "--json")
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert json.loads(out)["tre_mm"] == pytest.approx(6**0.5, abs=1e-4)


def test_evaluate_takes_only_the_labels_asked_for(capsys, inputs):
    status, out, _ = run(capsys, *evaluates(inputs, "--labels", "3"))
    assert status == 0
    assert "label      3" in out
    assert "label      1" not in out


@pytest.mark.parametrize("table", ["presets", "starts", "refinements", "similarities", "networks"])
def test_list_shows_a_table(capsys, table):
    status, out, _ = run(capsys, "list", table)
    assert status == 0
    assert out.startswith(f"{table}:\n")
    assert len(out.splitlines()) > 3


def test_list_shows_all_tables(capsys):
    out = run(capsys, "list")[1]
    for word in ("presets:", "released", "reg-ttr", "mind", "convexadam", "bending"):
        assert word in out


def test_every_command_has_a_help_text(capsys):
    for command in cli.COMMANDS:
        status, out, _ = run(capsys, command, "--help")
        assert status == 0
        assert "usage: regrefine" in out


def test_the_version_is_told(capsys):
    status, out, _ = run(capsys, "--version")
    assert (status, out.split()[0]) == (0, "regrefine")


def as_program(*words) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "RegRefineLib", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_as_a_program_it_registers(inputs, tmp_path):
    done = as_program(*registers(inputs, tmp_path / "out", "--events"))
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"


def test_as_a_program_it_tells_a_mistake_in_one_line(inputs, tmp_path):
    done = as_program(*registers(inputs, tmp_path / "out", fixed="none.nii"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error():
    code = "import sys; from RegRefineLib.cli import main; sys.exit(main(['list']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode == 1
