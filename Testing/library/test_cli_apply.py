"""`apply`, `convert`, `jacobian` and `evaluate` on what people bring: types, chains, outsides."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.command_line import refused, run
from support.small import grid, image_on, labels_on

from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.io import landmarks, transforms, volumes
from RegRefineLib.io.volumes import LabelMap

GRID = grid((12, 13, 14), (2.0, 2.0, 2.0))
SHIFT = np.eye(4)
SHIFT[:3, 3] = 8, 0, 0  # mm to the right: four voxels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("apply")
    transforms.write_affine(SHIFT, place / "shift.tfm")
    transforms.write_affine(np.diag([1.1, 0.9, 1.0, 1]), place / "scale.tfm")
    field = DisplacementField(np.full((*GRID.shape, 3), [8, 0, 0], np.float32), GRID)
    transforms.write_field(field, place / "shift.nrrd")
    ct = (image_on(GRID).array * 400 - 1000).round().astype(np.int16)
    volumes.write_volume(Volume(ct, GRID), place / "ct.nii.gz")
    volumes.write_labels(labels_on(GRID), place / "labels.nii.gz")
    names = {1: "left", 2: "right", 3: "ball"}
    volumes.write_labels(LabelMap(labels_on(GRID), names), place / "seg.seg.nrrd")
    return place


def array_of(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("how", ["linear", "nearest", "bspline", "sinc"])
def test_a_ct_keeps_its_type_and_has_air_outside(capsys, folder, tmp_path, how):
    words = ("apply", folder / "shift.nrrd", folder / "ct.nii.gz", "-o", tmp_path / "o.nii.gz")
    assert run(capsys, *words, "--interpolation", how)[0] == 0
    moved, ct = array_of(tmp_path / "o.nii.gz"), array_of(folder / "ct.nii.gz")
    assert moved.dtype == np.int16
    np.testing.assert_allclose(moved[:, :, 5:9], ct[:, :, 9:13], atol=2)
    assert (moved[:, :, 10:] == ct.min()).all()
    assert run(capsys, *words, "--interpolation", how, "--outside", "-3024")[0] == 0
    assert (array_of(tmp_path / "o.nii.gz")[:, :, 10:] == -3024).all()


def test_labels_are_known_by_their_contents_and_never_blurred(capsys, folder, tmp_path):
    words = ("apply", folder / "shift.nrrd", folder / "labels.nii.gz", "-o", tmp_path / "o.nii.gz")
    status, _, err = run(capsys, *words)
    assert status == 0
    assert "taken for a label map" in err
    assert set(np.unique(array_of(tmp_path / "o.nii.gz"))) == {0, 1, 2, 3}
    assert run(capsys, *words, "--interpolation", "linear")[0] == 0
    assert run(capsys, *words, "--labels")[2] == ""


def test_a_segmentation_stays_one(capsys, folder, tmp_path):
    words = ("apply", folder / "shift.nrrd", folder / "seg.seg.nrrd", "-o", tmp_path / "o.seg.nrrd")
    assert run(capsys, *words)[0] == 0
    got = volumes.read_labels(tmp_path / "o.seg.nrrd")
    assert got.names == {1: "left", 2: "right", 3: "ball"}
    assert set(np.unique(got.volume.array)) == {0, 1, 2, 3}


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
def test_ids_of_atlases_come_through(capsys, folder, tmp_path, ending):
    ids = np.array([0, 312782546, 614454277, 4294967295], np.int64)
    volumes.write_labels(Volume(ids[labels_on(GRID).array], GRID), tmp_path / f"a.{ending}")
    words = ("apply", folder / "shift.nrrd", tmp_path / f"a.{ending}", "--labels")
    assert run(capsys, *words, "-o", tmp_path / f"o.{ending}")[0] == 0
    got = array_of(tmp_path / f"o.{ending}")
    assert set(np.unique(got).tolist()) == set(ids.tolist())


def test_series_and_colours_are_moved_frame_by_frame(capsys, folder, tmp_path):
    ct = array_of(folder / "ct.nii.gz")
    series = np.stack([ct, ct + 1, ct + 2], -1)
    nib.save(nib.Nifti1Image(series.transpose(2, 1, 0, 3), GRID.affine), tmp_path / "bold.nii.gz")
    words = (tmp_path / "bold.nii.gz", "-o", tmp_path / "o.nii.gz")
    assert run(capsys, "apply", folder / "shift.nrrd", *words)[0] == 0
    got = np.asarray(nib.load(tmp_path / "o.nii.gz").dataobj)
    assert got.shape == (*GRID.shape[::-1], 3)
    assert got.dtype == np.int16
    assert (got[:10, ..., 1] == got[:10, ..., 0] + 1).all()
    colours = np.random.default_rng(0).integers(0, 255, (*GRID.shape, 3)).astype(np.uint8)
    image = sitk.GetImageFromArray(colours, isVector=True)
    image.CopyInformation(sitk.ReadImage(str(folder / "ct.nii.gz")))
    sitk.WriteImage(image, str(tmp_path / "rgb.nrrd"))
    words = (tmp_path / "rgb.nrrd", "-o", tmp_path / "o.nrrd", "--interpolation", "nearest")
    assert run(capsys, "apply", folder / "shift.nrrd", *words)[0] == 0
    np.testing.assert_array_equal(array_of(tmp_path / "o.nrrd")[:, :, :9], colours[:, :, 4:13])


CHAINS = {
    "two": ["shift.tfm", "scale.tfm"],
    "one inverted as Greedy does": ["shift.tfm,-1", "scale.tfm"],
    "one inverted as ANTs does": ["[shift.nrrd,1]", "[scale.tfm,0]"],
    "there and back": ["shift.tfm", "shift.tfm,-1"],
}


@pytest.mark.parametrize("case", CHAINS)
def test_several_transforms_are_applied_in_order(capsys, folder, tmp_path, case):
    """In the order of antsApplyTransforms and Greedy: fixed points pass the first one first."""
    point = np.array([[3.0, -4.0, 5.0]])
    landmarks.write_landmarks(["a"], point, tmp_path / "p.fcsv")
    words = [word.replace("s", f"{folder}/s", 1) for word in CHAINS[case]]
    assert run(capsys, "apply", *words, tmp_path / "p.fcsv", "-o", tmp_path / "o.csv")[0] == 0
    by = {"shift": SHIFT, "scale": np.diag([1.1, 0.9, 1.0, 1])}
    expected = np.array([*point[0], 1])
    for word in CHAINS[case]:
        matrix = by["shift" if "shift" in word else "scale"]
        inverted = word.endswith((",-1", ",1]"))
        expected = (np.linalg.inv(matrix) if inverted else matrix) @ expected
    got = landmarks.read_landmarks(tmp_path / "o.csv")[1]
    np.testing.assert_allclose(got[0], expected[:3], atol=1e-3)
    back = ("apply", *words, tmp_path / "o.csv", "--points-of", "moving")
    assert run(capsys, *back, "-o", tmp_path / "b.csv")[0] == 0
    np.testing.assert_allclose(landmarks.read_landmarks(tmp_path / "b.csv")[1], point, atol=2e-3)


def test_the_grid_can_be_like_another_images_or_of_other_voxels(capsys, folder, tmp_path):
    words = ("apply", folder / "shift.tfm", folder / "ct.nii.gz", "-o", tmp_path / "o.nrrd")
    assert "name the fixed image" in refused(capsys, *words)
    assert run(capsys, *words, "--like", folder / "ct.nii.gz", "--spacing", "4")[0] == 0
    got = volumes.read_volume(tmp_path / "o.nrrd").geometry
    assert got.shape == (6, 6, 7)
    np.testing.assert_allclose(got.spacing, 4)
    np.testing.assert_allclose(got.centre, GRID.centre, atol=1e-9)
    assert "one or three sizes" in refused(
        capsys, *words, "--like", folder / "ct.nii.gz", "--spacing", "-1"
    )


def test_convert_goes_round_and_says_what_it_needs(capsys, folder, tmp_path):
    grids = ("--fixed", folder / "ct.nii.gz", "--moving", folder / "labels.nii.gz")
    steps = ["flirt:{}/f.mat", "{}/a.lta", "ras:{}/r.txt", "elastix:{}/t.txt", "{}/last.h5"]
    before = str(folder / "scale.tfm")
    for step in steps:
        word = step.format(tmp_path)
        assert run(capsys, "convert", before, word, *grids)[0] == 0
        before = word
    got = transforms.read_transform(tmp_path / "last.h5")
    np.testing.assert_allclose(got, np.diag([1.1, 0.9, 1.0, 1]), atol=1e-6)
    line = refused(capsys, "convert", folder / "scale.tfm", f"flirt:{tmp_path}/g.mat")
    assert "--fixed and --moving" in line
    assert run(capsys, "convert", folder / "scale.tfm", tmp_path / "w.nii.gz", *grids)[0] == 0
    field = transforms.read_transform(tmp_path / "w.nii.gz")
    points = GRID.points() * [1.1, 0.9, 1.0] - GRID.points()
    np.testing.assert_allclose(field.vectors, points, atol=1e-5)


def test_jacobian_and_its_logarithm(capsys, folder, tmp_path):
    like = ("--reference", folder / "ct.nii.gz", "-o", tmp_path / "j.nii.gz")
    assert run(capsys, "jacobian", folder / "scale.tfm", *like)[0] == 0
    np.testing.assert_allclose(array_of(tmp_path / "j.nii.gz"), 0.99, atol=1e-4)
    assert run(capsys, "jacobian", folder / "scale.tfm", *like, "--log")[0] == 0
    np.testing.assert_allclose(array_of(tmp_path / "j.nii.gz"), np.log(0.99), atol=1e-4)
    vectors = np.zeros((*GRID.shape, 3), np.float32)
    vectors[:, :, 6, 0] = 9
    transforms.write_field(DisplacementField(vectors, GRID), tmp_path / "fold.nrrd")
    words = ("jacobian", tmp_path / "fold.nrrd", "-o", tmp_path / "j.nrrd", "--log")
    assert "voxels fold" in run(capsys, *words)[2]
    assert np.isfinite(array_of(tmp_path / "j.nrrd")).all()


def evaluated(capsys, *words):
    status, out, err = run(capsys, "evaluate", *words, "--json")
    assert status == 0, err
    return json.loads(out), err


def test_correlation_counts_only_where_both_images_are(capsys, folder, tmp_path):
    ct = volumes.read_volume(folder / "ct.nii.gz")
    part = Geometry((12, 13, 8), GRID.affine)
    volumes.write_volume(Volume(ct.array[:, :, :8].astype(np.int16), part), tmp_path / "part.nrrd")
    pair = ("--fixed", folder / "ct.nii.gz", "--moving", tmp_path / "part.nrrd")
    assert evaluated(capsys, *pair)[0]["ncc"] > 0.9999


def test_segments_are_paired_by_name_and_a_cropped_map_counts_as_it_is(capsys, folder, tmp_path):
    plain = volumes.read_labels(folder / "seg.seg.nrrd")
    other = np.array([0, 2, 3, 1])[plain.volume.array]
    named = LabelMap(Volume(other, GRID), {2: "left", 3: "right", 1: "Ball"})
    volumes.write_labels(named, tmp_path / "renumbered.seg.nrrd")
    pair = ("--fixed-labels", folder / "seg.seg.nrrd", "--moving-labels")
    found, err = evaluated(capsys, *pair, tmp_path / "renumbered.seg.nrrd")
    assert found["dice"] == {"mean": 1.0, "1": 1.0, "2": 1.0, "3": 1.0}
    assert "segments are paired by name" in err
    crop = np.s_[2:9, 3:10, 4:11]
    box = Geometry(
        (7, 7, 7), GRID.affine @ np.array([[1, 0, 0, 4], [0, 1, 0, 3], [0, 0, 1, 2], [0, 0, 0, 1]])
    )
    cropped = LabelMap(Volume(plain.volume.array[crop], box), plain.names)
    volumes.write_labels(cropped, tmp_path / "cropped.seg.nrrd")
    one, _ = evaluated(capsys, *pair, tmp_path / "cropped.seg.nrrd")
    back = ("--moving-labels", folder / "seg.seg.nrrd", "--fixed-labels")
    two, _ = evaluated(capsys, *back, tmp_path / "cropped.seg.nrrd")
    truth = [
        2
        * (plain.volume.array[crop] == n).sum()
        / ((plain.volume.array[crop] == n).sum() + (plain.volume.array == n).sum())
        for n in (1, 2, 3)
    ]
    for found in (one, two):
        assert found["dice"]["mean"] == pytest.approx(np.mean(truth))


def test_overlapping_segments_are_compared_and_moved_layer_by_layer(capsys, folder, tmp_path):
    array = labels_on(GRID).array
    layers = [
        LabelMap(Volume((array > 0).astype(np.uint8), GRID), {1: "body"}),
        LabelMap(Volume(2 * (array == 3).astype(np.uint8), GRID), {2: "ball"}),
    ]
    volumes.write_labels(layers, tmp_path / "over.seg.nrrd")
    pair = ("--fixed-labels", tmp_path / "over.seg.nrrd", "--moving-labels")
    found, _ = evaluated(capsys, *pair, tmp_path / "over.seg.nrrd")
    assert found["dice"] == {"mean": 1.0, "1": 1.0, "2": 1.0}
    words = ("apply", folder / "shift.nrrd", tmp_path / "over.seg.nrrd")
    assert run(capsys, *words, "-o", tmp_path / "o.seg.nrrd")[0] == 0
    moved = volumes.read_label_layers(tmp_path / "o.seg.nrrd")
    assert [m.names for m in moved] == [{1: "body"}, {2: "ball"}]
    for one, other in zip(moved, layers, strict=True):
        np.testing.assert_array_equal(one.volume.array[:, :, :9], other.volume.array[:, :, 4:13])


def test_landmarks_far_outside_go_by_the_exact_mapping(capsys, folder, tmp_path):
    matrix = np.diag([1.1, 0.9, 1.0, 1.0])
    transforms.write_field(DisplacementField.from_affine(matrix, GRID), tmp_path / "t.nrrd")
    points = np.array([[90.0, -80, 70], [0, 0, 0], [-150, 20, 10]])
    landmarks.write_landmarks(["a", "b", "c"], points, tmp_path / "f.fcsv")
    landmarks.write_landmarks(["a", "b", "c"], points * [1.1, 0.9, 1.0], tmp_path / "m.fcsv")
    pair = ("--fixed-landmarks", tmp_path / "f.fcsv", "--moving-landmarks", tmp_path / "m.fcsv")
    for name in (tmp_path / "t.nrrd", folder / "scale.tfm"):
        found, _ = evaluated(capsys, *pair, "--transform", name, "--metrics", "tre")
        assert found["tre_mm"] < 1e-3
        assert found["tre_p95_mm"] < 1e-3


def test_more_metrics_are_given_by_name(capsys, folder):
    labels = (
        "--fixed-labels",
        folder / "labels.nii.gz",
        "--moving-labels",
        folder / "labels.nii.gz",
    )
    more = ("--metrics", "nsd", "ndv", "logjacobian", "--tolerance", "2")
    found, _ = evaluated(capsys, *labels, *more, "--transform", folder / "shift.nrrd")
    assert 0 < found["nsd"]["mean"] < 1
    assert found["ndv_percent"] == 0
    assert found["logjacobian_sd"] == pytest.approx(0, abs=1e-6)
    status, out, _ = run(capsys, "evaluate", *labels, *more)
    assert status == 0
    assert "nsd  1.000" in out


def as_program(words, **more):
    command = [sys.executable, "-m", "RegRefineLib", *words]
    return subprocess.run(command, capture_output=True, timeout=300, check=False, **more)


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes are Linux'")
def test_names_that_are_not_utf8_and_streams_that_cannot_take_them(folder, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff\xe9 dir"
    os.mkdir(odd)  # noqa: PTH102
    for source, name in (("shift.nrrd", b"t\xe9.nrrd"), ("ct.nii.gz", b"ct\xff.nii.gz")):
        with open(odd + b"/" + name, "wb") as copy:  # noqa: PTH123
            copy.write((folder / source).read_bytes())
    words = [b"apply", odd + b"/t\xe9.nrrd", odd + b"/ct\xff.nii.gz", b"-o"]
    for out in (b"/o\xe8.nii.gz", b"/o\xe8.nrrd"):
        for encoding in ("utf-8", "cp1252", "ascii"):
            env = {**os.environ, "PYTHONIOENCODING": encoding}
            done = as_program([*words, odd + out], env=env)
            assert done.returncode == 0, done.stderr
            assert os.path.exists(odd + out)  # noqa: PTH110
            assert b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="shells elsewhere close no streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(folder, tmp_path, closed):
    words = f"apply {folder}/shift.nrrd {folder}/ct.nii.gz -o {tmp_path}/o.nrrd"
    shell = f"{sys.executable} -m RegRefineLib {words} {closed}"
    done = subprocess.run(["sh", "-c", shell], timeout=300, check=False)
    assert done.returncode == 0
    assert array_of(tmp_path / "o.nrrd").dtype == np.int16


def test_a_full_standard_output_is_one_sentence(folder, tmp_path):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        return
    words = f"apply {folder}/shift.nrrd {folder}/ct.nii.gz -o {tmp_path}/o.nrrd > /dev/full"
    shell = f"{sys.executable} -m RegRefineLib {words}"
    done = subprocess.run(["sh", "-c", shell], timeout=300, check=False, capture_output=True)
    assert b"standard output cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("length", [240, 255])
def test_long_names_are_written(folder, tmp_path, length, capsys):
    name = "x" * (length - len(".nii.gz")) + ".nii.gz"
    words = ("apply", folder / "shift.nrrd", folder / "ct.nii.gz", "-o", tmp_path / name)
    assert run(capsys, *words)[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == [name]
