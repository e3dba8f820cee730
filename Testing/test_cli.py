"""The command line: what each command writes, and one clear line for whatever is wrong."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from small import bend, grid, image_on, labels_on

from RegRefineLib import cli
from RegRefineLib.formats import files, landmarks, transforms
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import Cancelled
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.weights import checkpoint

QUICK = ("--preset", "fixed", "--steps", "2")
GRID = grid()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with a pair, its labels, masks, landmarks, transforms and damaged files."""
    folder = tmp_path_factory.mktemp("inputs")
    moving_grid = grid((19, 20, 21), (2.2, 1.9, 2.1), middle=(1, 0, -1))

    def bent(points):
        return points + bend(points)

    files.write_volume(image_on(GRID, bent), folder / "fixed.nii.gz")
    files.write_volume(image_on(moving_grid), folder / "moving.nrrd")
    files.write_labels(labels_on(GRID, bent), folder / "fixed_labels.nii.gz")
    files.write_labels(labels_on(moving_grid), folder / "moving_labels.nrrd")
    files.write_labels(labels_on(grid((12, 12, 12), (3.0,) * 3)), folder / "coarse_labels.nrrd")
    ones = np.ones(GRID.shape, np.uint8)
    files.write_labels(Volume(ones, GRID), folder / "mask.nii.gz")
    files.write_labels(Volume(0 * ones, GRID), folder / "empty.nii.gz")
    files.write_labels(
        Volume(ones, grid(GRID.shape, middle=(900, 0, 0))), folder / "far_labels.nii.gz"
    )
    torch.save({"a": torch.ones(2)}, folder / "w.pt")
    points = np.array([[0.0, 0, 0], [5, -4, 3], [-6, 2, 1]])
    landmarks.write_landmarks(["a", "b", "c"], points, folder / "fixed.fcsv")
    landmarks.write_landmarks(["a", "b", "c"], bent(points), folder / "moving.fcsv")
    landmarks.write_landmarks(["a"], points[:1], folder / "one.fcsv")
    field = DisplacementField(bend(GRID.points()).astype(np.float32), GRID)
    transforms.write_field(field, folder / "field.nrrd")
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, -1
    transforms.write_affine(shift, folder / "shift.tfm")
    return folder


def run(capsys, *words) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a command in this process."""
    try:
        status = cli.main([str(word) for word in words])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *words) -> str:
    """The one line on standard error of a command that must end with status 2."""
    status, _, err = run(capsys, *words)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert status == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("regrefine: ")
    return lines[0]


def registers(inputs: Path, output: Path, *more, fixed="fixed.nii.gz", moving="moving.nrrd"):
    return ("register", inputs / fixed, inputs / moving, "-o", output, *QUICK, *more)


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
    monkeypatch.setattr("RegRefineLib.register.align", lambda *_, **__: pytest.fail("aligned"))
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


# what a user may do wrong: (words after FIXED MOVING -o DIR, what the line must say)
MISTAKES = {
    "unknown preset": (["--preset", "relesed"], "did you mean released"),
    "unknown backbone": (["--backbone", "convexadm"], "did you mean convexadam"),
    "unknown refinement": (["--refine", "regttr"], "did you mean reg-ttr"),
    "unknown similarity": (["--set", "similarity=lnc"], "did you mean"),
    "unknown setting": (["--set", "stepps=3"], "unknown setting stepps"),
    "unknown affine": (["--affine", "afine"], "--affine"),
    "unknown intensity": (["--intensity", "bright"], "--intensity"),
    "unknown option": (["--no-such"], "--no-such"),
    "setting without a value": (["--set", "steps"], "NAME=VALUE"),
    "setting that is no number": (["--set", "learning_rate=fast"], "learning_rate"),
    "endless setting": (["--set", "learning_rate=inf"], "learning_rate"),
    "too large a whole number": (["--set", "patience=1e999"], "patience"),
    "no whole number": (["--set", "grid_sp=1.5"], "grid_sp"),
    "negative rate": (["--set", "learning_rate=-1"], "learning_rate"),
    "coarse parameter": (["--set", "grid_sp=40"], "grid_sp"),
    "even window": (["--set", "windows=4:1"], "windows"),
    "window without a weight": (["--set", "windows=5"], "windows"),
    "window of no weight": (["--set", "windows=5:nan"], "windows"),
    "steps in words": (["--steps", "ten"], "--steps"),
    "negative steps": (["--steps=-1"], "--steps"),
    "spacing in words": (["--spacing", "fine"], "--spacing"),
    "spacing NaN": (["--spacing", "nan"], "--spacing"),
    "spacing larger than the image": (["--spacing", "900"], "900 mm leaves 1 x 1 x 1"),
    "seed in words": (["--seed", "lucky"], "--seed"),
    "seed beyond 64 bits": (["--seed", "99999999999999999999"], "seed"),
    "unknown device": (["--device", "tpu"], "device"),
    "device number in words": (["--device", "cpu:x"], "device"),
    "missing weights": (["--network", "voxelmorph"], "weights"),
    "no such weights": (["--network", "voxelmorph", "--weights", "no/such.pt"], "no/such.pt"),
    "unknown network": (
        ["--network", "voxelmorf", "--weights", "{}/w.pt"],
        "did you mean voxelmorph",
    ),
    "labels of one image": (["--fixed-labels", "{}/fixed_labels.nii.gz"], "--moving-labels"),
    "landmarks of one image": (["--moving-landmarks", "{}/moving.fcsv"], "--fixed-landmarks"),
    "missing labels": (["--fixed-labels", "a", "--moving-labels", "b"], "no such file"),
    "labels elsewhere": (
        ["--fixed-labels", "{}/far_labels.nii.gz", "--moving-labels", "{}/moving_labels.nrrd"],
        "does not overlap",
    ),
    "an image as labels": (
        ["--fixed-labels", "{}/fixed.nii.gz", "--moving-labels", "{}/moving_labels.nrrd"],
        "whole numbers",
    ),
    "empty mask": (["--fixed-mask", "{}/empty.nii.gz"], "mask is empty"),
    "empty moving mask": (["--moving-mask", "{}/empty.nii.gz"], "mask is empty"),
    "missing transform": (["--init", "{}/none.tfm"], "no such file"),
    "an image as transform": (["--init", "{}/fixed.nii.gz"], "not a displacement field"),
    "no transform given": (["--backbone", "initial"], "--init"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(capsys, inputs, tmp_path, mistake):
    words, said = MISTAKES[mistake]
    words = [word.replace("{}", str(inputs)) for word in words]
    line = refused(capsys, *registers(inputs, tmp_path / "out", *words))
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_told(capsys, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(capsys, *registers(inputs, tmp_path / "out", "--device", "cuda"))
    assert "no cuda here" in line


def write_bad(name: str, path: Path) -> None:
    """A file that is no image to register."""
    array = image_on(GRID).array.copy()
    if name == "missing":
        return
    if name == "empty":
        path.touch()
    elif name == "damaged":
        files.write_volume(Volume(array, GRID), path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "text":
        path.write_text("not an image\n" * 50)
    elif name in ("2-D", "4-D"):
        shape = (30, 30) if name == "2-D" else (3, 8, 8, 8)
        sitk.WriteImage(sitk.GetImageFromArray(np.ones(shape, np.float32)), str(path))
    else:
        if name == "constant":
            array[:] = 7
        else:
            array[3, 4, 5] = {"NaN": np.nan, "infinite": np.inf}[name]
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


BAD_IMAGES = ("missing", "empty", "damaged", "text", "2-D", "4-D", "constant", "NaN", "infinite")


@pytest.mark.parametrize("which", ["fixed", "moving"])
@pytest.mark.parametrize("bad", BAD_IMAGES)
def test_a_bad_image_is_told_in_one_line(capsys, inputs, tmp_path, bad, which):
    if bad == "4-D":
        path = tmp_path / "bad.nrrd"
        image = sitk.JoinSeries([sitk.GetImageFromArray(image_on(GRID).array)] * 2)
        sitk.WriteImage(image, str(path))
    else:
        path = tmp_path / "bad.nii.gz"
        write_bad(bad, path)
    line = refused(capsys, *registers(inputs, tmp_path / "out", **{which: path}))
    assert (which if bad == "constant" else "bad.n") in line
    assert not (tmp_path / "out").exists()


def test_volumes_that_do_not_meet_are_told(capsys, inputs, tmp_path):
    there = image_on(GRID)
    there = Volume(there.array, grid(GRID.shape, middle=(0, 0, 500)))
    files.write_volume(there, tmp_path / "far.nrrd")
    line = refused(capsys, *registers(inputs, tmp_path / "out", moving=tmp_path / "far.nrrd"))
    assert "do not overlap" in line
    assert "--affine" in line


def test_a_singular_transform_is_told(capsys, inputs, tmp_path):
    flat = (inputs / "shift.tfm").read_text().splitlines()
    flat = ["Parameters: 1 0 0 0 1 0 0 0 0 1 2 3" if "Parameters: 1" in s else s for s in flat]
    (tmp_path / "flat.tfm").write_text("\n".join(flat) + "\n")
    line = refused(capsys, *registers(inputs, tmp_path / "out", "--init", tmp_path / "flat.tfm"))
    assert "flat.tfm" in line


def no_work(*_, **__):
    raise AssertionError("the registration ran although nothing can be written")


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_place_of_the_folder_is_told_before_the_work(
    capsys, inputs, tmp_path, monkeypatch, below
):
    monkeypatch.setattr("RegRefineLib.register.register", no_work)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    line = refused(capsys, *registers(inputs, taken / "out" if below else taken))
    assert "is a file, not a folder" in line
    assert taken.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_forbidden_folder_is_told_before_the_work(capsys, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("RegRefineLib.register.register", no_work)
    tmp_path.chmod(0o500)
    line = refused(capsys, *registers(inputs, tmp_path / "out"))
    tmp_path.chmod(0o700)
    assert "not allowed" in line


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


def test_a_full_disk_leaves_nothing_behind(capsys, inputs, small_disk):
    line = refused(capsys, *registers(inputs, small_disk))
    assert "disk" in line
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_gets_full_keeps_the_result_of_before(capsys, inputs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(capsys, *registers(inputs, out))[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("RegRefineLib.outputs.write_volume", full)
    assert "the disk is full" in refused(capsys, *registers(inputs, out, "--steps", "1"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_is_dropped_has_status_1_and_writes_nothing(
    capsys, inputs, tmp_path, monkeypatch
):
    def dropped(*_, **__):
        raise Cancelled

    monkeypatch.setattr("RegRefineLib.register.register", dropped)
    status, _, err = run(capsys, *registers(inputs, tmp_path / "out"))
    assert (status, err) == (1, "regrefine: dropped; nothing was written\n")
    assert not (tmp_path / "out").exists()


OTHER_MISTAKES = {
    "no command": ([], "COMMAND"),
    "unknown command": (["regster"], "regster"),
    "no arguments": (["register"], "FIXED"),
    "unknown table": (["list", "colours"], "colours"),
    "nothing to evaluate": (["evaluate"], "nothing to evaluate"),
    "unknown label": (
        [
            *("evaluate", "--fixed-labels", "{}/fixed_labels.nii.gz"),
            *("--moving-labels", "{}/moving_labels.nrrd", "--labels", "1", "42"),
        ],
        "no label 42",
    ),
    "labels of one": (["evaluate", "--fixed-labels", "{}/mask.nii.gz"], "--moving-labels"),
    "images of one": (["evaluate", "--moving", "{}/moving.nrrd"], "--fixed"),
    "unlike landmarks": (
        [
            *("evaluate", "--fixed-landmarks", "{}/fixed.fcsv"),
            *("--moving-landmarks", "{}/one.fcsv", "--transform", "{}/field.nrrd"),
        ],
        "one to one",
    ),
    "apply nothing": (["apply", "{}/none.nrrd", "{}/moving.nrrd", "-o", "x.nrrd"], "no such file"),
    "apply without a grid": (
        ["apply", "{}/shift.tfm", "{}/moving.nrrd", "-o", "{}/x.nrrd"],
        "--reference",
    ),
    "apply to an unknown kind": (
        ["apply", "{}/field.nrrd", "{}/moving.nrrd", "-o", "{}/x.jpg"],
        "unknown file type",
    ),
    "apply into a file": (
        ["apply", "{}/field.nrrd", "{}/moving.nrrd", "-o", "{}/mask.nii.gz/x.nrrd"],
        "not a folder",
    ),
    "apply to a missing image": (
        ["apply", "{}/field.nrrd", "{}/none.nii", "-o", "{}/x.nrrd"],
        "no such file",
    ),
}


@pytest.mark.parametrize("mistake", OTHER_MISTAKES)
def test_the_other_commands_tell_mistakes_too(capsys, inputs, mistake):
    words, said = OTHER_MISTAKES[mistake]
    before = sorted(inputs.iterdir())
    assert said in refused(capsys, *[word.replace("{}", str(inputs)) for word in words])
    assert sorted(inputs.iterdir()) == before


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
