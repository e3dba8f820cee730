"""Manifests: what they name, and a line for each of the things that can be wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.cohort_files import GRID, QUICK, write_scans

from RegRefineLib.cohort.checks import check
from RegRefineLib.cohort.manifest import ManifestError, read_manifest
from RegRefineLib.cohort.runs import runs_of, with_target
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import write_volume


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"), 3)


def problems(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        check(read_manifest(path))
    assert all("\n" not in line for line in caught.value.problems)
    return list(caught.value.problems)


def test_paths_are_relative_to_the_manifest_and_what_is_left_out_has_defaults(scans):
    manifest = read_manifest(scans)
    scan = manifest.scans["s1"]
    assert scan.image == str(scans.parent / "s1.nii.gz")
    assert (scan.mask, scan.weight, scan.group, scan.row) == ("", 1.0, "b", 3)
    looked = check(manifest)
    assert looked["s1"].shape == GRID.shape
    assert len(looked["s1"].hashes["image"]) == 64


@pytest.mark.parametrize(
    "text", ["id\timage\ns0\ts0.nii.gz\n", "\ufeffID;Image\r\n\r\ns0;s0.nii.gz\r\n\r\n"]
)
def test_tabs_semicolons_byte_marks_and_blank_lines_are_read(scans, text):
    path = scans.with_name("other.csv")
    path.write_bytes(text.encode())
    assert list(read_manifest(path).scans) == ["s0"]


BAD = {
    "empty": ("", "is empty"),
    "no columns": ("name,file\na,s0.nii.gz\n", "no column id, image"),
    "unknown column": ("id,image,labls\na,s0.nii.gz,x\n", "unknown column labls"),
    "column twice": ("id,image,image\na,s0.nii.gz,s0.nii.gz\n", "image is there twice"),
    "no rows": ("id,image\n", "no rows below the header"),
    "cells": ("id,image\na,s0.nii.gz,3\n", "line 2 has 3 cells, the header 2"),
    "id twice": ("id,image\na,s0.nii.gz\nA,s1.nii.gz\n", "line 3: id 'A' is there twice (line 2)"),
    "id unfit": ("id,image\n../a,s0.nii.gz\n", "id '../a'"),
    "no image": ("id,image\na,\n", "line 2: a has no image"),
    "weight": ("id,image,weight\na,s0.nii.gz,nan\n", "weight 'nan'"),
    "missing": ("id,image\na,none.nii.gz\n", "none.nii.gz is not there"),
    "damaged": ("id,image\na,cut.nii.gz\n", "damaged"),
    "same image": ("id,image\na,s0.nii.gz\nb,copy.nii.gz\n", "the same image as a (line 2)"),
    "implausible": ("id,image\na,huge.nii.gz\n", "implausible"),
    "flat": ("id,image\na,flat.nii.gz\n", "the same everywhere"),
    "labels elsewhere": ("id,image,labels\na,s0.nii.gz,far.nii.gz\n", "does not overlap"),
    "labels are none": ("id,image,labels\na,s0.nii.gz,s1.nii.gz\n", "whole numbers"),
    "same pair": ("fixed,moving\ns0.nii.gz,s0.nii.gz\n", "are the same image"),
    "pair twice": ("fixed,moving\ns0.nii.gz,s1.nii.gz\ns0.nii.gz,s1.nii.gz\n", "line 3: this pair"),
    "half a pair": ("fixed,moving\ns0.nii.gz,\n", "no moving image"),
}


@pytest.fixture(scope="module")
def flawed(scans) -> Path:
    folder = scans.parent
    data = (folder / "s0.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(data[: len(data) // 2])
    shutil.copy(folder / "s0.nii.gz", folder / "copy.nii.gz")
    image = np.random.default_rng(1).random((8, 8, 8)).astype(np.float32)
    huge = Geometry.from_parts(image.shape, (500, 500, 500), np.eye(3), (0, 0, 0))
    write_volume(Volume(image, huge), folder / "huge.nii.gz")
    write_volume(Volume(0 * image, Geometry(image.shape, np.eye(4))), folder / "flat.nii.gz")
    far = Geometry.from_parts(image.shape, (1, 1, 1), np.eye(3), (900, 0, 0))
    write_volume(Volume((image > 0.5).astype(np.uint8), far), folder / "far.nii.gz")
    return folder


@pytest.mark.parametrize("name", BAD)
def test_each_fault_of_a_manifest_is_one_line(name, flawed):
    text, said = BAD[name]
    path = flawed / "bad.csv"
    path.write_text(text)
    (line,) = problems(path)
    assert said in line


def test_every_fault_is_named_at_once_and_what_is_not_text_is_said(flawed):
    path = flawed / "bad.csv"
    path.write_text("id,image\na,none.nii.gz\nb,cut.nii.gz\nc,s0.nii.gz\n")
    assert len(problems(path)) == 2
    path.write_bytes(b"id,image\n\xff\xfe,s0.nii.gz\n")
    assert "UTF-8" in problems(path)[0]
    assert "cannot be read" in problems(flawed / "absent.csv")[0]


def test_what_did_not_change_is_not_read_again(scans, tmp_path):
    manifest, told = read_manifest(scans), []
    first = check(manifest, tmp_path / "memory.json", told.append)
    assert len(told) == 3
    assert check(manifest, tmp_path / "memory.json", told.append) == first
    assert len(told) == 3
    (tmp_path / "memory.json").write_text('{"a": 1')
    assert check(manifest, tmp_path / "memory.json", told.append) == first
    assert len(told) == 6


def test_all_to_one_all_pairs_and_given_pairs(scans, flawed):
    manifest = read_manifest(scans)
    looked = check(manifest)
    assert [r.name for r in runs_of(manifest, looked, QUICK, to="s1")] == [
        "from-s0_to-s1",
        "from-s2_to-s1",
    ]
    assert len(runs_of(manifest, looked, QUICK)) == 6
    outside, name = with_target(manifest, str(flawed / "huge.nii.gz"))
    assert name == "target"
    assert len(outside.scans) == 4
    assert with_target(manifest, str(scans.parent / "s2.nii.gz"))[1] == "s2"
    with pytest.raises(RegRefineError, match="--to: 's9'"):
        runs_of(manifest, looked, QUICK, to="s9")
    path = flawed / "pairs.csv"
    path.write_text("fixed,moving,fixed_labels\ns0.nii.gz,s1.nii.gz,s0_labels.nii.gz\n")
    pairs = read_manifest(path)
    (run,) = runs_of(pairs, check(pairs), QUICK)
    assert run.name == "from-s1_to-s0"
    assert run.fixed.labels.endswith("s0_labels.nii.gz")
    with pytest.raises(RegRefineError, match="names pairs itself"):
        runs_of(pairs, looked, QUICK, to="s0")


def test_whatever_decides_a_result_changes_its_hash(scans):
    manifest = read_manifest(scans)
    looked = check(manifest)
    one = runs_of(manifest, looked, QUICK, to="s0")[0]
    same = runs_of(manifest, looked, QUICK, to="s0")[0]
    others = [
        runs_of(manifest, looked, QUICK.replaced(seed=1), to="s0")[0],
        runs_of(manifest, looked, QUICK, to="s0", keep="minimal")[0],
        runs_of(manifest, looked, QUICK, to="s0")[1],
    ]
    assert one.digest == same.digest
    assert len({one.digest, *(run.digest for run in others)}) == 4


def test_a_bids_folder_is_a_manifest(scans, tmp_path):
    for name in ("sub-01/anat/sub-01_T1w", "sub-02/ses-a/anat/sub-02_ses-a_acq-x_T1w"):
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        shutil.copy(scans.parent / "s0.nii.gz", path)
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-02\tpatient\n")
    manifest = read_manifest(tmp_path)
    assert list(manifest.scans) == ["sub-01", "sub-02_ses-a"]
    assert manifest.scans["sub-02_ses-a"].group == "patient"
    shutil.copy(scans.parent / "s0.nii.gz", tmp_path / "sub-01/anat/sub-01_run-2_T1w.nii.gz")
    with pytest.raises(ManifestError, match="sub-01 has 2 images"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no sub-"):
        read_manifest(scans.parent)
