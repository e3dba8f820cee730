"""Files into pairs, and the command that trains on them."""

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
from RegRefineLib.training.datasets import Grid, ScanPairs
from RegRefineLib.training.log import rows
from RegRefineLib.training.pack import Packing, pack
from RegRefineLib.weights.checkpoint import read
from RegRefineLib.weights.load import load

GRID = Grid((16, 16, 16), 4.0)
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two label maps and their scans, on grids of different places and axes."""
    turned = np.diag([-1.0, -1.0, 1.0])
    for name, geometry in (
        ("a", small_grid((20, 18, 22))),
        ("b", small_grid((22, 20, 20), direction=turned)),
    ):
        files.write_volume(image_on(geometry), tmp_path / f"{name}.nii.gz")
        labels = labels_on(geometry)
        raised = np.where(labels.array == 3, 1003, labels.array).astype(np.int16)
        files.write_labels(Volume(raised, geometry), tmp_path / f"{name}-labels.nii.gz")
    return tmp_path


def names(folder: Path, ending: str) -> list[str]:
    return [str(folder / f"{name}{ending}.nii.gz") for name in "ab"]


def test_maps_lie_on_one_grid_in_the_same_place_with_the_same_numbers(folder: Path) -> None:
    one, other = pack(names(folder, "-labels"), (), Packing(GRID)).labels
    assert one.shape == other.shape == (16, 16, 16)
    assert set(one.unique().tolist()) == set(other.unique().tolist()) == {0, 1, 2, 3}
    agreeing = (one == other).float().mean()
    assert float(agreeing) > 0.97  # the same body, stored the other way round


def test_a_missing_background_stays_without_a_number(tmp_path: Path) -> None:
    full = np.full((8, 8, 8), 7, np.int16)
    full[:, :, :4] = 9
    files.write_labels(Volume(full, Geometry((8, 8, 8), np.eye(4))), tmp_path / "full.nii.gz")
    (found,) = pack([tmp_path / "full.nii.gz"], (), Packing(Grid((8, 8, 8), 1.0))).labels
    assert set(found.unique().tolist()) == {1, 2}


def test_scans_are_paired_in_either_order_and_never_with_themselves(folder: Path) -> None:
    pairs = pack(names(folder, "-labels"), names(folder, ""), Packing(GRID)).scans()
    drawn = [pairs.sample(n, CPU) for n in range(12)]
    assert {float(s.moving.sum()) for s in drawn} == {float(i.sum()) for i in pairs.images}
    for sample in drawn:
        assert not torch.equal(sample.moving, sample.fixed)
        assert torch.allclose(sample.moving, sample.fixed, atol=0.2)
        assert tuple(sample.moving_labels.shape) == (1, 1, 16, 16, 16)
    again = pack(names(folder, "-labels"), names(folder, ""), Packing(GRID)).scans()
    assert again.fingerprint() == pairs.fingerprint()
    assert ScanPairs(pairs.images).fingerprint() != pairs.fingerprint()


def test_scans_that_make_no_pairs_are_refused(folder: Path) -> None:
    with pytest.raises(RegRefineError, match="two scans at least"):
        pack((), names(folder, "")[:1], Packing(GRID)).scans()
    with pytest.raises(RegRefineError, match="one map per image"):
        pack(names(folder, "-labels")[:1], names(folder, ""), Packing(GRID))
    with pytest.raises(RegRefineError, match="millimetres"):
        Grid((8, 8, 8), 0.0)


TINY = [
    *("--shape", "8", "8", "8", "--spacing", "8", "--device", "cpu", "--validation", "1"),
    *("--set", "network.encoder=[4,4]", "--set", "network.decoder=[4,4,4]", "--set", "steps=2"),
]


def test_the_command_trains_on_random_shapes_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(tmp_path / "run"), *TINY, "--set", "pairs.labels=3"]
    assert cli.main([*words, "--minutes", "1e-9"]) == 0
    assert len(rows(tmp_path / "run" / "log.csv")) == 1
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "random shapes" in out
    assert out.strip().endswith("weights.safetensors")
    record = rows(tmp_path / "run" / "log.csv")
    assert [row["step"] for row in record] == [0, 1]
    assert "validation_dice" in record[-1]
    assert cli.main([*words, "--set", "learning_rate=0.1"]) == 2
    assert "made with another learning_rate" in capsys.readouterr().err


def test_the_folder_alone_continues_its_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)  # files are given by relative paths
    files = [Path(name).name for name in names(folder, "-labels")]
    run = str(folder / "run")
    words = ["train", run, *TINY, "--labels", *files, "--hold-out", "1", "--set", "pairs.noise=0.1"]
    assert cli.main([*words, "--minutes", "1e-9"]) == 0
    monkeypatch.chdir(folder.parent)
    log = folder / "run" / "log.csv"
    assert len(rows(log)) == 1
    assert cli.main(["train", run, "--device", "cpu"]) == 0
    assert len(rows(log)) == 2
    assert cli.main(["train", run, "--device", "cpu"]) == 0
    assert "all 2 steps are done" in capsys.readouterr().out
    assert cli.main(["train", run, "--device", "cpu", "--set", "steps=3"]) == 0
    assert "steps are 3 now and were 2" in capsys.readouterr().err
    assert len(rows(log)) == 3
    assert cli.main(["train", run, "--device", "cpu"]) == 0  # the raised number is kept
    assert "all 3 steps are done" in capsys.readouterr().out
    assert cli.main(["train", run, "--device", "cpu", "--hold-out", "0"]) == 2
    assert "another the pairs" in capsys.readouterr().err
    (folder / "run" / "arguments.json").write_text("{")
    assert cli.main(["train", run, "--device", "cpu"]) == 2
    assert "arguments.json: cannot be read" in capsys.readouterr().err


def test_weights_trained_on_files_say_what_images_they_want(folder: Path) -> None:
    words = ["--labels", *names(folder, "-labels"), "--hold-out", "1"]
    assert cli.main(["train", str(folder / "run"), *TINY, *words]) == 0
    path = str(folder / "run" / "weights.safetensors")
    loaded = load(path)
    assert (loaded.preprocessing.spacing_mm, loaded.preprocessing.orientation) == (8.0, "SAR")
    assert "1 label maps" in read(path).metadata["training"]


def test_the_command_trains_on_scans_with_dice(folder: Path) -> None:
    words = ["--images", *names(folder, ""), "--labels", *names(folder, "-labels")]
    words += ["--set", "dice_weight=1", "--network", "voxelmorph"]
    assert cli.main(["train", str(folder / "run"), *TINY, *words]) == 0
    assert "dice_loss" in rows(folder / "run" / "log.csv")[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "steps"], "NAME=VALUE"),
        (["--set", "stepps=3"], "unknown setting 'stepps'"),
        (["--set", "network.colour=3"], "unknown option colour"),
        (["--set", "network=voxelmorph"], "has an argument of its own"),
        (["--set", "pairs.bendd=1"], "unknown setting 'bendd'"),
        (["--network", "firewrok-vm"], "did you mean firework-vm"),
        (["--hold-out", "1"], "--hold-out: from 0 to 0"),
        (["--save-every", "0"], "--save-every"),
        (["--labels", "none.nii.gz"], "no such file"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", str(tmp_path / "run"), *TINY, *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
