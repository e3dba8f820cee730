"""Pairs of smooth noise: the displacement that comes with them is the true one."""

from pathlib import Path

import pytest
import torch

from RegRefineLib import cli
from RegRefineLib.errors import RegRefineError
from RegRefineLib.metrics.jacobian import determinant, folds_percent
from RegRefineLib.ops.warp import warp
from RegRefineLib.training.log import rows
from RegRefineLib.training.noise import Noise, NoisePairs
from RegRefineLib.weights.load import load

CPU = torch.device("cpu")
TINY = ["--set", "network.encoder=[4,4]", "--set", "network.decoder=[4,4,4]"]
CLEAN = Noise(shape=(24, 20, 28), noise=0.0, bias=0.0)


@pytest.mark.parametrize("number", range(4))
def test_the_moving_image_through_the_true_displacement_is_the_fixed_one(number: int) -> None:
    sample = NoisePairs(CLEAN).sample(number, CPU)
    moved = warp(sample.moving, sample.displacement, padding="border")
    inner = (..., *3 * (slice(8, -8),))  # no structure comes in from outside there
    left = (moved - sample.fixed)[inner].abs().mean()
    assert left < 0.02 * (sample.moving - sample.fixed)[inner].abs().mean()


def test_displacements_have_the_wanted_size_and_few_folds() -> None:
    source = NoisePairs(Noise(shape=(32, 32, 32), largest=2.0))
    fields = [source.sample(number, CPU).displacement for number in range(20)]
    sizes = [float(field.square().mean().sqrt()) for field in fields]
    assert min(sizes) > 0.2
    assert 1.0 < max(sizes) < 3.0
    folds = [folds_percent(determinant(field[0].double().numpy())) for field in fields]
    assert sum(folds) / len(folds) < 0.2


def test_every_place_has_structure_and_the_range_is_0_to_1() -> None:
    sample = NoisePairs(Noise()).sample(5, CPU)
    for image in (sample.moving, sample.fixed):
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1
        parts = image[0, 0].unfold(0, 8, 8).unfold(1, 8, 8).unfold(2, 8, 8).std(dim=(3, 4, 5))
        assert float(parts.min()) > 0.02


def test_a_pair_hangs_on_its_number_and_the_seed_alone() -> None:
    one, other = NoisePairs(CLEAN), NoisePairs(CLEAN)
    other.sample(0, CPU)
    torch.testing.assert_close(one.sample(7, CPU).fixed, other.sample(7, CPU).fixed)
    assert not torch.equal(one.sample(7, CPU).fixed, one.sample(8, CPU).fixed)
    reseeded = NoisePairs(Noise(shape=CLEAN.shape, noise=0.0, bias=0.0, seed=1))
    assert not torch.equal(one.sample(7, CPU).fixed, reseeded.sample(7, CPU).fixed)
    assert one.fingerprint() == other.fingerprint() != reseeded.fingerprint()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(RegRefineError, match="shape: three sizes"):
        Noise(shape=(4, 32, 32))
    with pytest.raises(RegRefineError, match="largest, shortest and longest"):
        Noise(largest=0.0)


def test_the_command_trains_on_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(tmp_path / "run"), "--noise", "--shape", "8", "8", "8", "--device", "cpu"]
    words += ["--set", "network.encoder=[4,4]", "--set", "network.decoder=[4,4,4]"]
    words += ["--set", "steps=2", "--set", "field_weight=1", "--set", "pairs.largest=1"]
    assert cli.main(words) == 0
    assert "smooth noise" in capsys.readouterr().out
    assert float(rows(tmp_path / "run" / "log.csv")[0]["field_loss"]) > 0
    begun = ["train", str(tmp_path / "next"), *words[2:], "--set", "stages=1", "--set"]
    assert cli.main([*begun, f"begin_with={tmp_path / 'run' / 'weights.safetensors'}"]) == 0
    other = [*begun, f"begin_with={tmp_path / 'run' / 'weights.safetensors'}"]
    other[1] = str(tmp_path / "other")
    assert cli.main([*other, "--set", "network.encoder=[8,4]"]) == 2
    assert "begin_with:" in capsys.readouterr().err
    assert cli.main([*words, "--labels", "a.nii.gz"]) == 2
    assert "--noise: is made without files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--shape", "10", "8", "8"],
            "does not take 10 8 8 voxels; the next larger sizes",
        ),
        (["--set", "network.channels=3"], "cannot be trained on these pairs"),
        (["--set", "pairs.largest=1e6"], "half of the mean side"),
        (["--set", "dice_weight=1"], "the pairs have no labels"),
        (["--set", "seed=-1"], "seed: a whole number"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    folder = tmp_path / "run"
    train = ["train", str(folder), "--noise", "--network", "voxelmorph", "--device", "cpu"]
    assert cli.main([*train, "--shape", "8", "8", "8", *TINY, "--set", "steps=1", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not folder.exists() or not any(folder.iterdir())


def test_a_training_goes_on_without_what_it_began_with(tmp_path: Path) -> None:
    common = [
        "--noise",
        "--shape",
        "8",
        "8",
        "8",
        "--device",
        "cpu",
        "--set",
        "field_weight=1",
        *TINY,
    ]
    lesson = ["train", str(tmp_path / "lesson"), "--network", "voxelmorph", *common]
    assert cli.main([*lesson, "--set", "steps=1", "--set", "stages=1"]) == 0
    weights = tmp_path / "lesson" / "weights.safetensors"
    run = ["train", str(tmp_path / "run"), *common, "--set", "steps=2"]
    run += ["--set", f"begin_with={weights}"]
    assert cli.main(run) == 0
    assert load(str(tmp_path / "run" / "weights.safetensors")).network.steps == 2
    weights.unlink()
    (tmp_path / "run" / "weights.safetensors").unlink()
    assert cli.main(run) == 0
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_a_network_that_integrates_is_no_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--noise", "--shape", "8", "8", "8", "--device", "cpu", "--set", "steps=1", *TINY]
    lesson = ["train", str(tmp_path / "lesson"), "--network", "voxelmorph", *common]
    assert cli.main([*lesson, "--set", "stages=1", "--set", "network.int_steps=2"]) == 0
    begun = f"begin_with={tmp_path / 'lesson' / 'weights.safetensors'}"
    assert cli.main(["train", str(tmp_path / "run"), *common, "--set", begun]) == 2
    assert "integrates a velocity" in capsys.readouterr().err
