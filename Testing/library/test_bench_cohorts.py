"""Cohorts: tiny folders laid out as the published ones give the published splits and pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from RegRefineLib.bench import cohorts
from RegRefineLib.bench.cohorts import COHORTS, pairs, prepared, subjects
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io import volumes as files


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def counts(found: list[cohorts.Pair]) -> dict[str, int]:
    return {split: sum(p.split == split for p in found) for split in cohorts.SPLITS}


@pytest.mark.parametrize("ending", ["nii.gz", "hdr"])
@pytest.mark.parametrize("place", ["S{0:02d}/", "delineation_space/S{0:02d}/", ""])
def test_lpba40_gives_870_and_90_pairs(tmp_path: Path, place: str, ending: str) -> None:
    for n in range(1, 41):
        for kind in ("skullstripped", "structure.label"):
            touch(tmp_path, f"{place.format(n)}S{n:02d}.delineation.{kind}.{ending}")
    found = pairs("lpba40", tmp_path)
    assert counts(found) == {"train": 870, "validation": 0, "test": 90}
    first, second = found[:2]
    assert "S01." in first.moving
    assert "S02." in first.fixed
    assert "S01." in second.moving
    assert "S03." in second.fixed


def test_mindboggle_gives_1722_and_380_pairs(tmp_path: Path) -> None:
    for group, count in (("NKI-RS-22", 22), ("NKI-TRT-20", 20), ("OASIS-TRT-20", 20)):
        for n in range(1, count + 1):
            for name in ("t1weighted_brain.MNI152", "labels.DKT31.manual.MNI152"):
                touch(tmp_path, f"{group}_volumes/{group}-{n}/{name}.nii.gz")
    assert counts(pairs("mindboggle101", tmp_path)) == {"train": 1722, "validation": 0, "test": 380}
    order = [Path(s.image).parent.name for s in subjects("mindboggle101", tmp_path)[:3]]
    assert order == ["NKI-RS-22-1", "NKI-RS-22-2", "NKI-RS-22-3"]


def test_abdomen_gives_380_6_and_42_pairs(tmp_path: Path) -> None:
    for n in range(1, 31):
        touch(tmp_path, f"img/img{n:04d}.nii.gz", f"label/label{n:04d}.nii.gz")
    found = pairs("abdomenctct", tmp_path)
    assert counts(found) == {"train": 380, "validation": 6, "test": 42}
    last = found[-1]
    assert last.moving.endswith("img0030.nii.gz")
    assert last.fixed.endswith("img0029.nii.gz")


def test_acdc_pairs_the_phases_of_a_patient_both_ways(tmp_path: Path) -> None:
    for n in range(1, 151):
        folder = "train" if n <= 100 else "test"
        for phase in ("ed", "es"):
            for kind in ("img", "seg"):
                touch(tmp_path, f"{folder}/patient{n:03d}_{phase}_{kind}.nii.gz")
    found = pairs("acdc", tmp_path)
    assert counts(found) == {"train": 170, "validation": 30, "test": 100}
    held = sorted({Path(p.fixed).name[7:10] for p in found if p.split == "validation"})
    assert held[:4] == ["018", "019", "020", "038"]
    assert held[-1] == "100"
    assert all(Path(p.fixed).name[:10] == Path(p.moving).name[:10] for p in found)


def test_labels_that_count_are_numbered_in_the_published_order() -> None:
    assert len(COHORTS["lpba40"].labels) == 54
    assert len(COHORTS["mindboggle101"].labels) == 62
    array = np.array([[21, 34, 35], [166, 0, 41]])
    found = cohorts._renumbered(array, COHORTS["lpba40"].labels)
    assert found.tolist() == [[1, 14, 0], [54, 0, 15]]


def test_brains_become_the_middle_block_in_millimetres(tmp_path: Path) -> None:
    grid = Geometry.from_parts((20, 30, 20), (8.0, 8.0, 8.0), np.eye(3), (5.0, 5.0, 5.0))
    image = np.zeros(grid.shape, np.float32)
    image[10, 15, 10] = 50.0
    labels = np.full(grid.shape, 21, np.int16)
    one, other = tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"
    files.write_volume(Volume(image, grid), one)
    files.write_labels(Volume(labels, grid), other)
    shown, numbered = prepared("lpba40", cohorts.Subject(str(one), str(other), "train"))
    assert shown.array.shape == numbered.array.shape == (160, 192, 160)
    assert shown.geometry.centre == pytest.approx(grid.centre)
    assert 0.8 < float(shown.array.max()) <= 1.0
    assert set(np.unique(numbered.array)) == {1}


def test_abdomens_are_windowed_and_halved(tmp_path: Path) -> None:
    grid = Geometry.from_parts((8, 6, 10), (2.0, 2.0, 2.0), np.eye(3), (0.0, 0.0, 0.0))
    image = np.full(grid.shape, -1000.0, np.float32)
    image[4:] = 150.0
    labels = np.zeros(grid.shape, np.int16)
    labels[4:] = 3
    one, other = tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"
    files.write_volume(Volume(image, grid), one)
    files.write_labels(Volume(labels, grid), other)
    shown, found = prepared("abdomenctct", cohorts.Subject(str(one), str(other), "test"))
    assert shown.array.shape == (4, 3, 5)
    assert tuple(shown.geometry.spacing) == (4.0, 4.0, 4.0)
    assert float(shown.array[-1].mean()) == pytest.approx(0.5, abs=0.05)
    assert set(np.unique(found.array)) == {0, 3}


@pytest.mark.parametrize(
    ("name", "count", "tests"),
    [
        ("brain_oasis20", 14 * 13 + 6 * 5, 30),
        ("brain_vxm", 2, 2),
        ("cardiac_mms", 64, 64),
        ("torso_ct", 2, 2),
        ("lung_ct", 2, 2),
        ("hippocampus_msd", 99 * 98, 99 * 98),
    ],
)
def test_the_development_sets_are_read(data_dir: Path, name: str, count: int, tests: int) -> None:
    found = pairs(name, data_dir / name)
    assert (len(found), counts(found)["test"]) == (count, tests)
    for path in found[0][:4]:
        assert Path(path.rpartition(":")[0] if ".npz:" in path else path).is_file()


def test_mistakes_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(RegRefineError, match="cohort: one of lpba40"):
        pairs("ixi", tmp_path)
    with pytest.raises(RegRefineError, match=r"S01\.delineation"):
        pairs("lpba40", tmp_path)
