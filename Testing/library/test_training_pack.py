"""Packs of training data: made of files, kept in one, taken up by the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.small import grid as small_grid
from support.small import image_on, labels_on

from RegRefineLib import cli
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io import volumes as files
from RegRefineLib.training import brain
from RegRefineLib.training.datasets import Grid
from RegRefineLib.training.log import rows
from RegRefineLib.training.pack import Pack, Packing, pack
from RegRefineLib.training.synthetic import Synthesis

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scans of one body with labels, the second one moved by 12 mm."""
    for name, origin in (("a", (0.0, 0.0, 0.0)), ("b", (12.0, -6.0, 3.0))):
        geometry = small_grid((20, 18, 22))
        affine = geometry.affine.copy()
        affine[:3, 3] += origin
        moved = Geometry(geometry.shape, affine)
        image = Volume(image_on(geometry).array, moved)
        files.write_volume(image, tmp_path / f"{name}.nii.gz")
        labels = Volume(labels_on(geometry).array.astype(np.int16), moved)
        files.write_labels(labels, tmp_path / f"{name}-labels.nii.gz")
    return tmp_path


def names(folder: Path, ending: str = "") -> list[str]:
    return [str(folder / f"{name}{ending}.nii.gz") for name in "ab"]


def test_aligned_scans_lie_on_each_other(folder: Path) -> None:
    how = Packing(Grid((16, 16, 16), 4.0), aligned=True)
    made = pack(names(folder, "-labels"), names(folder), how)
    assert float((made.images[0] - made.images[1]).abs().mean()) < 0.02
    assert float((made.labels[0] == made.labels[1]).float().mean()) > 0.95
    assert made.about["files"] == ["a.nii.gz", "b.nii.gz"]


def test_a_pack_comes_back_from_its_file(folder: Path) -> None:
    made = pack(names(folder, "-labels"), names(folder), Packing(Grid((16, 16, 16), 4.0)))
    made.save(folder / "pack.npz")
    found = Pack.read(folder / "pack.npz")
    assert all(torch.equal(a, b) for a, b in zip(made.labels, found.labels, strict=True))
    for a, b in zip(made.images, found.images, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)
    assert (found.preprocessing, found.about) == (made.preprocessing, made.about)
    assert found.part(0, 1).images[0].shape == found.shape == (16, 16, 16)


def test_other_files_are_no_packs(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", labels=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(RegRefineError, match="is no pack"):
            Pack.read(tmp_path / name)


def head() -> Volume:
    """Tissue in the middle, fluid around it, two ids that go and one that joins the tissue."""
    array = np.zeros((16, 16, 16), np.int16)
    array[1:15, 1:15, 1:15] = 511  # skull
    array[2:14, 2:14, 2:14] = brain.FLUID
    array[6:10, 6:10, 6:10] = 2
    array[7, 7, 7] = 25  # a lesion
    array[8, 8, 8] = 41
    return Volume(array, Geometry((16, 16, 16), np.eye(4)))


def test_a_head_is_stripped_to_the_brain_and_a_rim_of_fluid() -> None:
    found = brain.structures(head())
    assert set(np.unique(found.array)) == {0, 2, brain.FLUID, 41}
    assert found.array[7, 7, 7] == 2
    rim = np.argwhere(found.array == brain.FLUID)
    assert rim.min() == 4  # two millimetres from the tissue at 6
    image = brain.painted(found)
    assert image.array[7, 7, 7] > image.array[4, 7, 7] > image.array[0, 0, 0] == 0


def test_natural_paint_keeps_the_order_of_tissues() -> None:
    labels = torch.zeros(12, 12, 12, dtype=torch.int16)
    labels[2:6], labels[6:10] = 1, 2
    wanted = Synthesis(
        shape=(12, 12, 12), natural=1.0, empty=1.0, across=1.0, bend=0.0, noise=0.0, bias=0.0,
        thickness=1.0, blur=0.0, linear=0.02,
    )  # fmt: skip
    pairs = Pack([labels, labels], (), (0.0, 0.2, 0.9)).painted(wanted)
    for number in range(5):
        sample = pairs.sample(number, CPU)
        fluid, white = (sample.fixed[sample.fixed_labels == n].mean() for n in (1, 2))
        assert float(white) > float(fluid) + 0.3
        assert not bool(sample.fixed[sample.fixed_labels == 0].any())
    with pytest.raises(RegRefineError, match="without intensities"):
        Pack([labels, labels]).painted(wanted)


def test_the_linear_part_is_shared_by_both_images() -> None:
    labels = torch.zeros(16, 16, 16, dtype=torch.int16)
    labels[5:11, 5:11, 5:11] = 1
    wanted = Synthesis(shape=(16, 16, 16), bend=0.0, linear=0.1)
    sample = Pack([labels]).painted(wanted).sample(3, CPU)
    assert torch.equal(sample.fixed_labels, sample.moving_labels)
    assert not torch.equal(sample.fixed_labels[0, 0], labels.long())


def test_the_commands_make_a_pack_and_train_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        files.write_labels(head(), tmp_path / f"{name}.nii.gz")
    made = str(tmp_path / "brain.npz")
    words = ["--kind", "brain", "--align", "--shape", "8", "8", "8", "--spacing", "2"]
    assert cli.main(["pack", made, "--labels", *names(tmp_path), *words]) == 0
    assert "2 label maps" in capsys.readouterr().out
    assert Pack.read(made).preprocessing["level"] == [95, 0.85]  # as bright as painted maps
    tiny = ["--set", "network.encoder=[4,4]", "--set", "network.decoder=[4,4,4]"]
    tiny += ["--set", "steps=1", "--device", "cpu", "--validation", "1"]
    mixed = ["--set", "pairs.natural=0.5", "--set", "pairs.across=1", "--set", "dice_weight=1"]
    folder = tmp_path / "run"
    train = ["train", str(folder), "--pack", made, *tiny, *mixed, "--set", "dice_stride=2"]
    assert cli.main(train) == 0
    assert "dice_loss" in rows(folder / "log.csv")[0]
    begun = f"begin_with={folder / 'weights.safetensors'}"
    again = [*train[:1], str(tmp_path / "more"), *train[2:], "--set", begun]
    assert cli.main(again) == 0
    assert cli.main([*train, "--labels", *names(tmp_path)]) == 2
    assert "--pack: has label maps" in capsys.readouterr().err
