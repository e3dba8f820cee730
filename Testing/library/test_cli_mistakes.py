"""The command line: one clear line for whatever is wrong, and nothing half-written."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.command_line import GRID, refused, registers, run, write_inputs
from support.small import grid, image_on

from RegRefineLib.errors import Cancelled
from RegRefineLib.geometry import Volume
from RegRefineLib.io import volumes as files


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


# what a user may do wrong: (words after FIXED MOVING -o DIR, what the line must say)
MISTAKES = {
    "unknown preset": (["--preset", "relesed"], "did you mean reg-ttr-released"),
    "unknown backbone": (["--backbone", "convexadm"], "did you mean convexadam"),
    "unknown refinement": (["--refine", "regttr"], "did you mean reg-ttr"),
    "unknown similarity": (["--set", "similarity=lnc"], "did you mean"),
    "unknown setting": (["--set", "stepps=3"], "unknown setting 'stepps'; did you mean steps"),
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
    elif name == "4-D":
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 8, 8, 8), np.float32)), str(path))
    else:
        array[:] = 7
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


BAD_IMAGES = ("missing", "empty", "damaged", "text", "4-D", "constant")


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
    monkeypatch.setattr("RegRefineLib.registration.register", no_work)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    line = refused(capsys, *registers(inputs, taken / "out" if below else taken))
    assert "is a file, not a folder" in line
    assert taken.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_forbidden_folder_is_told_before_the_work(capsys, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("RegRefineLib.registration.register", no_work)
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

    monkeypatch.setattr("RegRefineLib.io.result_folder.write_volume", full)
    assert "the disk is full" in refused(capsys, *registers(inputs, out, "--steps", "1"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_is_dropped_has_status_1_and_writes_nothing(
    capsys, inputs, tmp_path, monkeypatch
):
    def dropped(*_, **__):
        raise Cancelled

    monkeypatch.setattr("RegRefineLib.registration.register", dropped)
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
