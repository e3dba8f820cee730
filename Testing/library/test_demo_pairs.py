"""The sample pairs, from archives made here in the layout of the real ones; no network."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.freesurfer_files import mgh_bytes

from RegRefineLib.demo import packages
from RegRefineLib.demo import pairs as samples
from RegRefineLib.demo.packages import Archive, Indexes
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.itk_lps import to_image

GRID = Geometry((12, 10, 8), np.diag([2.0, 2.0, 2.0, 1.0]))
BLOCK = Geometry((4, 5, 3), GRID.affine @ np.array([*np.eye(4)[:, :3].T, [2, 3, 1, 1]]).T)


def volume_of(name: str) -> Volume:
    if name in ("example_ct.nii.gz", "cxr.nii.gz", "mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"):
        return Volume(np.arange(960, dtype=np.int16).reshape(12, 10, 8), GRID)
    if name == "mask.nii.gz":  # every sample's labels and one that no fixed scan has
        ids = [1, 3, 5, 32, 51, 52, 54, 56, 58, 90, 117]
        return Volume(np.resize(np.uint8(ids), (12, 10, 8)), GRID)
    if name == "example_seg_fast_force_split.nii.gz":
        return Volume(np.resize(np.uint8([1, 3, 5, 117]), (12, 10, 8)), GRID)
    if name == "heart.nii.gz":
        heart = np.zeros((12, 10, 8), np.uint8)
        heart[9] = 1
        return Volume(heart, GRID)
    if name == "atlas_desikan_killiany.nii.gz":  # the block with its axes in another order
        turned = BLOCK.affine[:, [2, 0, 1, 3]] @ np.diag([-1.0, 1, 1, 1])
        turned[:3, 3] = BLOCK.to_ras([0, 0, 3])
        labels = np.zeros((5, 3, 4), np.int16)
        labels[2, 0, 3] = 17  # block voxel (i, j, k) = (0, 2, 0)
        return Volume(labels, Geometry((5, 3, 4), turned))
    part = np.zeros(BLOCK.shape, np.uint8)
    part[1, 2, sum(map(ord, name)) % 3] = 1
    return Volume(part, BLOCK)


def content_of(member: str, folder: Path) -> bytes:
    name = Path(member).name
    if name.endswith(".mgz"):
        array = np.resize([0, 17], (4, 4, 4))
        return gzip.compress(mgh_bytes(array, kind=1 if "aseg" in name else 0))
    if name == "structures.csv":
        return b"group,structure,id\norgans,spleen,1\ncardiac,vertebrae_T12,32\n"
    if name.endswith(".csv"):
        return b"index,name\n0,Unknown\n17,Left-Hippocampus\n"
    sitk.WriteImage(to_image(volume_of(name)), str(folder / name))
    return (folder / name).read_bytes()


def put_archive(archive: Archive, members: list[str], cache: Path, work: Path) -> Archive:
    path = cache / archive.filename
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as opened:
            for member in members:
                opened.writestr(member, content_of(member, work))
    else:
        with tarfile.open(path, "w:gz") as tar:
            for number, member in enumerate(members):
                source = work / f"member{number}"
                source.write_bytes(content_of(member, work))
                tar.add(source, member)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Archive(archive.project, archive.filename, sha256, path.stat().st_size, archive.licence)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], samples.Sample]:
    monkeypatch.setattr(packages, "configured", lambda: Indexes(("http://127.0.0.1:9/simple",)))
    monkeypatch.setattr(samples, "_ABDOMEN_FIXED", (2, 12))
    monkeypatch.setattr(samples, "_CHEST_TOP", 10)
    cache, work = tmp_path / "cache", tmp_path / "work"
    cache.mkdir()
    work.mkdir()

    def fetch(name: str) -> samples.Sample:
        recipe = samples._RECIPES[name]
        members = {put_archive(a, m, cache, work): m for a, m in recipe.members.items()}
        monkeypatch.setitem(samples._RECIPES, name, recipe._replace(members=members))
        return samples.fetch(name, cache=cache)

    return fetch


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_comes_complete_from_a_filled_cache_without_a_network(
    name: str, fetched: Callable[[str], samples.Sample]
) -> None:
    sample = fetched(name)
    for image, labels in (
        (sample.fixed, sample.fixed_labels),
        (sample.moving, sample.moving_labels),
    ):
        assert labels.geometry.same_grid(image.geometry)
        assert image.array.dtype == np.float32
        assert set(np.unique(labels.array)) - {0} == set(sample.label_names)
    assert len(sample.sources) == 2
    assert any("Apache-2.0" in source for source in sample.sources)


def test_the_chest_labels_are_put_where_their_blocks_lie(
    fetched: Callable[[str], samples.Sample],
) -> None:
    sample = fetched("chest")
    assert sample.fixed.geometry.shape == (10, 10, 8)
    assert sample.label_names[32] == "vertebrae T12"
    assert (sample.fixed_labels.array[9] == 51).all()
    column = sum(map(ord, "aorta.nii.gz")) % 3
    # the block begins at voxel (i, j, k) = (2, 3, 1), its label at (column, 2, 1) of it
    found = set(sample.fixed_labels.array[2, 5, 2:5]) - {0}
    assert sample.fixed_labels.array[2, 5, 2 + column] in found
    assert np.count_nonzero(sample.fixed_labels.array[:9]) == len(found)


def test_the_abdomen_is_cut_with_its_place_kept_and_foreign_numbers_left_out(
    fetched: Callable[[str], samples.Sample],
) -> None:
    sample = fetched("abdomen")
    np.testing.assert_allclose(sample.fixed.geometry.origin, GRID.to_ras([0, 0, 2]))
    assert sample.fixed.array[0, 0, 0] == volume_of("example_ct.nii.gz").array[2, 0, 0]
    assert set(sample.label_names) == {1, 3, 5}


def test_the_brain_labels_of_another_axis_order_come_to_the_image_s_grid(
    fetched: Callable[[str], samples.Sample],
) -> None:
    sample = fetched("brain")
    assert np.argwhere(sample.fixed_labels.array).tolist() == [[1, 5, 2]]
    assert sample.label_names == {17: "Left Hippocampus"}


def test_an_unknown_sample_is_refused_with_the_known_names() -> None:
    with pytest.raises(RegRefineError, match="known: chest, abdomen, brain"):
        samples.fetch("knee")


def test_no_network_and_an_empty_cache_is_one_sentence_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "configured", lambda: Indexes(("http://127.0.0.1:9/simple",)))
    told: list[str] = []
    with pytest.raises(RegRefineError, match="connect to the internet once"):
        samples.fetch("chest", cache=tmp_path, notify=told.append)
    assert "38 MB" in told[0]
