"""Synthetic pairs, the loss, and a loop that goes on as if it had never been interrupted."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from RegRefineLib.errors import Cancelled, RegRefineError, Stopped
from RegRefineLib.job import Progress
from RegRefineLib.losses.dice import warped_dice_loss
from RegRefineLib.losses.ncc import local_ncc
from RegRefineLib.losses.smoothness import gradient_l2
from RegRefineLib.networks.firework import FiReworkVM
from RegRefineLib.networks.voxelmorph import VoxelMorph
from RegRefineLib.ops.warp import jacobian_determinant, warp
from RegRefineLib.training import state as state_file
from RegRefineLib.training.log import rows
from RegRefineLib.training.loop import LOG, PICTURE, Run, loss, train
from RegRefineLib.training.painting import _averages
from RegRefineLib.training.recipe import Recipe
from RegRefineLib.training.source import Draw, Sample
from RegRefineLib.training.state import STATE, WEIGHTS
from RegRefineLib.training.synthetic import (
    Synthesis,
    SyntheticPairs,
    flowed,
    random_velocity,
)
from RegRefineLib.training.validation import validate
from RegRefineLib.weights.checkpoint import read
from RegRefineLib.weights.load import load

CPU = torch.device("cpu")
SMALL = {"encoder": [4, 4], "decoder": [4, 4, 4]}
SHAPE = (12, 16, 8)
PAIRS = SyntheticPairs(Synthesis(shape=SHAPE, labels=4))
TINY = Recipe(options={**SMALL, "steps": 2}, steps=6, learning_rate=1e-2, dice_weight=0.5)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return read(folder / WEIGHTS).state


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[n], other[n]) for n in one)


def after(step: int, error: type[Exception]):
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise error

    return report


# --- the pairs -----------------------------------------------------------------------------------


def test_a_pair_hangs_on_the_seed_and_its_number_alone() -> None:
    again = SyntheticPairs(Synthesis(shape=SHAPE, labels=4))
    PAIRS.sample(5, CPU)
    one, other = PAIRS.sample(2, CPU), again.sample(2, CPU)
    assert torch.equal(one.moving, other.moving)
    assert torch.equal(one.fixed, other.fixed)
    assert torch.equal(one.fixed_labels, other.fixed_labels)
    assert not torch.equal(one.moving, PAIRS.sample(3, CPU).moving)
    seeded = SyntheticPairs(Synthesis(shape=SHAPE, labels=4, seed=1))
    assert not torch.equal(one.moving, seeded.sample(2, CPU).moving)


def test_a_pair_is_two_images_and_two_label_maps() -> None:
    for number in range(4):
        sample = PAIRS.sample(number, CPU)
        for image in (sample.moving, sample.fixed):
            assert tuple(image.shape) == (1, 1, *SHAPE)
            assert (float(image.min()), float(image.max())) == (0.0, 1.0)
        for labels in (sample.moving_labels, sample.fixed_labels):
            assert labels.dtype == torch.int64
            assert set(labels.unique().tolist()) <= set(range(4))
        assert not torch.equal(sample.moving_labels, sample.fixed_labels)


def test_deformations_are_large_and_do_not_fold() -> None:
    shape = (24, 24, 24)
    found = [flowed(random_velocity(Draw(0, n), shape, 0.05), shape) for n in range(6)]
    assert max(float(u.abs().max()) for u in found) > 2
    assert min(float(jacobian_determinant(u).min()) for u in found) > 0


def test_the_true_displacement_brings_the_moving_labels_onto_the_fixed_ones() -> None:
    wanted = Synthesis(shape=(40, 40, 40), labels=4, fineness=5, bend=0.03, linear=0.05)
    source = SyntheticPairs(wanted)
    inner = (..., *3 * (slice(6, -6),))  # no structure comes in from outside there
    for number in range(2):
        sample = source.sample(number, CPU)
        moved = warp(sample.moving_labels.float(), sample.displacement, mode="nearest")
        before, after = (
            float((labels.long() != sample.fixed_labels)[inner].float().mean())
            for labels in (sample.moving_labels, moved)
        )
        assert after < 0.6 * before
    terms = loss(FiReworkVM(**SMALL), sample, dataclasses.replace(TINY, field_weight=2.0))
    # all is missed by both stages of a network at birth
    assert terms["field_loss"].item() == pytest.approx(2 * 2.0, rel=0.01)


def test_two_maps_have_no_true_displacement_and_no_common_texture() -> None:
    one = torch.zeros(12, 12, 12, dtype=torch.int16)
    one[4:8] = 1
    wanted = Synthesis(shape=(12, 12, 12), across=1.0)
    sample = SyntheticPairs(wanted, [one, one.clone()]).sample(0, CPU)
    assert sample.displacement is None


def test_images_painted_alike_agree_where_the_structures_do() -> None:
    clean = Synthesis(
        shape=SHAPE, labels=4, bend=0, noise=0, bias=0, gamma=0, blur=0, thickness=1, texture=0
    )
    sample = SyntheticPairs(clean).sample(0, CPU)
    assert torch.allclose(sample.moving, sample.fixed, atol=1e-5)
    other = SyntheticPairs(dataclasses.replace(clean, same_contrast=0.0)).sample(0, CPU)
    assert torch.equal(other.moving_labels, other.fixed_labels)
    assert not torch.allclose(other.moving, other.fixed, atol=0.05)


def test_given_maps_are_what_the_pairs_show() -> None:
    one, other = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    one[3:9, 4:12, 2:6] = 1
    other[3:9, 4:12, 2:6] = 2
    wanted = Synthesis(shape=SHAPE, across=1.0)
    pairs = SyntheticPairs(wanted, [one, other])
    sample = pairs.sample(0, CPU)
    shown = {int(sample.moving_labels.max()), int(sample.fixed_labels.max())}
    assert shown == {1, 2}
    assert pairs.count == 3
    changed = other.clone()
    changed[0, 0, 0] = 1
    prints = {SyntheticPairs(wanted, maps).fingerprint() for maps in ([one, other], [one, changed])}
    assert len(prints | {PAIRS.fingerprint()}) == 3


def test_settings_of_pairs_that_cannot_be_are_refused() -> None:
    for values, sentence in (
        ({"shape": (12, 12)}, "shape: three sizes"),
        ({"labels": 1}, "labels: 2 at least"),
        ({"bend": -1.0}, "none can be negative"),
    ):
        with pytest.raises(RegRefineError, match=sentence):
            Synthesis(**values)
    with pytest.raises(RegRefineError, match=r"label map: .* voxels where the pairs have"):
        SyntheticPairs(Synthesis(shape=SHAPE), [torch.zeros(8, 8, 8)])
    with pytest.raises(RegRefineError, match="across: needs two"):
        SyntheticPairs(Synthesis(shape=SHAPE, across=0.5))


@pytest.mark.parametrize(("old", "new"), [(8, 8), (9, 4), (17, 5), (12, 11), (10, 1)])
def test_thick_slices_are_means_over_what_they_cover(old: int, new: int) -> None:
    line = torch.rand(1, 1, old, generator=torch.Generator().manual_seed(0))
    wanted = nn.functional.interpolate(line, new, mode="area")
    assert torch.allclose(line @ _averages(old, new).T, wanted, atol=1e-6)


# --- the loss ------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_over_both_stages() -> None:
    torch.manual_seed(0)
    network = FiReworkVM(**SMALL)
    nn.init.normal_(network.network.flow.weight, std=0.1)
    sample = PAIRS.sample(0, CPU)
    recipe = dataclasses.replace(TINY, smooth_weight=2.0)
    terms = loss(network, sample, recipe)
    fields = network.stages(sample.moving, sample.fixed, 2)
    similarity = sum(local_ncc(sample.fixed, warp(sample.moving, u)) for u in fields)
    smoothness = sum(2 * gradient_l2(u) for u in fields)
    labels = (sample.fixed_labels, sample.moving_labels)
    dice = sum(0.5 * warped_dice_loss(*labels, u, smooth=1e-5) for u in fields)
    expected = {"similarity": similarity, "smoothness": smoothness, "dice_loss": dice}
    expected["total"] = similarity + smoothness + dice
    found = {name: term.item() for name, term in terms.items()}
    assert found == pytest.approx({n: t.item() for n, t in expected.items()}, rel=1e-5)
    assert "dice_loss" not in loss(network, sample, dataclasses.replace(recipe, dice_weight=0.0))


def test_half_precision_is_for_the_convolutions_and_still_learns() -> None:
    torch.manual_seed(0)
    network = FiReworkVM(**SMALL)
    nn.init.normal_(network.network.flow.weight, std=0.1)
    sample = PAIRS.sample(0, CPU)
    found = []
    for precision in ("float32", "bfloat16"):
        network.zero_grad()
        terms = loss(network, sample, dataclasses.replace(TINY, precision=precision))
        assert {t.dtype for t in terms.values()} == {torch.float32}
        terms["total"].backward()
        found.append((terms["total"].item(), network.network.flow.weight.grad.clone()))
    (full, gradient), (half, other) = found
    assert half != full
    assert half == pytest.approx(full, rel=0.02)
    assert float(torch.cosine_similarity(gradient.flatten(), other.flatten(), dim=0)) > 0.9


@torch.no_grad()
def test_a_plain_network_is_cascaded_on_its_own_output() -> None:
    torch.manual_seed(0)
    network = VoxelMorph(**SMALL)
    nn.init.normal_(network.flow.weight, std=0.05)
    sample = PAIRS.sample(1, CPU)
    first, second = network.stages(sample.moving, sample.fixed, 2)
    assert torch.equal(first, network(sample.moving, sample.fixed))
    more = network(warp(sample.moving, first), sample.fixed)
    assert torch.allclose(second, more + warp(first, more, padding="border"), atol=1e-5)


def test_labels_are_asked_for_where_dice_counts() -> None:
    image = PAIRS.sample(0, CPU).fixed
    with pytest.raises(RegRefineError, match="the pairs have no labels"):
        loss(FiReworkVM(**SMALL), Sample(image, image), TINY)


def test_the_learning_rate_falls_as_a_polynomial() -> None:
    recipe = Recipe(steps=100, learning_rate=1e-4)
    assert recipe.rate(0) == 1e-4
    assert recipe.rate(50) == pytest.approx(1e-4 * 0.5**0.9)
    assert 0 < recipe.rate(99) < 2e-6


def test_recipes_that_cannot_be_are_refused() -> None:
    for values, sentence in (
        ({"network": "firewrok-vm"}, "did you mean firework-vm"),
        ({"steps": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is positive"),
        ({"smooth_weight": -1.0}, "cannot be negative"),
        ({"precision": "int8"}, "precision: one of"),
    ):
        with pytest.raises(RegRefineError, match=sentence):
            Recipe(**values)


# --- the loop ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    train(TINY, PAIRS, folder, Run("cpu", save_every=3))
    return folder


@pytest.mark.parametrize("error", [Cancelled, Stopped])
def test_an_interrupted_run_goes_on_as_if_nothing_happened(
    whole: Path, tmp_path: Path, error: type[Exception]
) -> None:
    run = Run("cpu", save_every=3, report=after(4, error))
    if error is Stopped:  # saves and ends
        train(TINY, PAIRS, tmp_path, run)
        assert len(rows(tmp_path / LOG)) == 5
    else:  # as if killed between two saves
        with pytest.raises(error):
            train(TINY, PAIRS, tmp_path, run)
        with (tmp_path / LOG).open("a") as file:
            file.write("5,0.5,0.")  # killed in the middle of a row
    torch.rand(5)  # what others draw in between plays no part
    train(TINY, PAIRS, tmp_path, Run("cpu", save_every=3))
    assert same(weights_of(tmp_path), weights_of(whole))
    states = [torch.load(f / STATE, weights_only=True) for f in (tmp_path, whole)]
    assert same(states[0]["network"], states[1]["network"])
    logs = [[{**r, "seconds": 0} for r in rows(f / LOG)] for f in (tmp_path, whole)]
    assert logs[0] == logs[1]
    assert [row["step"] for row in logs[0]] == list(range(TINY.steps))


def test_what_is_random_in_a_network_resumes_too(tmp_path: Path) -> None:
    class Dropping(VoxelMorph):
        def flow_of(self, channels: Tensor) -> Tensor:
            return super().flow_of(nn.functional.dropout(channels, 0.3, self.training))

    recipe = dataclasses.replace(TINY, network="voxelmorph", options=SMALL, steps=3, stages=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_file.load, "build", lambda _, options: Dropping(**options))
        train(recipe, PAIRS, tmp_path / "one", Run("cpu"))
        train(recipe, PAIRS, tmp_path / "two", Run("cpu", report=after(1, Stopped)))
        train(recipe, PAIRS, tmp_path / "two", Run("cpu"))
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))


def test_the_weights_say_what_they_are_and_register(whole: Path) -> None:
    loaded = load(str(whole / WEIGHTS))
    assert isinstance(loaded.network, FiReworkVM)
    assert loaded.network.steps == 2
    said = read(whole / WEIGHTS).metadata["training"]
    for word in (PAIRS.fingerprint(), "steps_done", "0.1.0+", "learning_rate"):
        assert word in said
    assert (whole / PICTURE).stat().st_size > 1000


def test_a_folder_of_another_training_is_left_alone(whole: Path) -> None:
    before = (whole / STATE).read_bytes()
    with pytest.raises(RegRefineError, match="another learning_rate, the pairs"):
        train(
            dataclasses.replace(TINY, learning_rate=1e-3),
            SyntheticPairs(Synthesis(shape=SHAPE, labels=5)),
            whole,
            Run("cpu"),
        )
    assert (whole / STATE).read_bytes() == before


def test_steps_can_be_raised_but_not_undone(tmp_path: Path) -> None:
    train(TINY, PAIRS, tmp_path, Run("cpu"))
    heard: list[Progress] = []
    longer = dataclasses.replace(TINY, steps=8)
    train(longer, PAIRS, tmp_path, Run("cpu", report=heard.append))
    assert "steps are 8 now and were 6: from step 6 on" in heard[0].message
    record = rows(tmp_path / LOG)
    assert [row["step"] for row in record] == list(range(8))
    assert record[-1]["learning_rate"] == pytest.approx(longer.rate(7))
    with pytest.raises(RegRefineError, match="steps: 8 are done already"):
        train(TINY, PAIRS, tmp_path, Run("cpu"))


def test_batch_norm_resumes_to_the_bit_too(tmp_path: Path) -> None:
    recipe = Recipe(network="lapwarp", options={"start_channel": 2}, steps=2, stages=1)
    pairs = SyntheticPairs(Synthesis(shape=(16, 16, 8), labels=4))
    train(recipe, pairs, tmp_path / "one", Run("cpu"))
    train(recipe, pairs, tmp_path / "two", Run("cpu", report=after(0, Stopped)))
    train(recipe, pairs, tmp_path / "two", Run("cpu"))
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
def test_files_have_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        train(dataclasses.replace(TINY, steps=1), PAIRS, tmp_path, Run("cpu", arguments={"a": 1}))
    finally:
        os.umask(before)
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()}
    assert set(modes) == {STATE, WEIGHTS, LOG, PICTURE, "arguments.json"}
    assert set(modes.values()) == {"0o640"}


def test_a_damaged_state_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"PK\x03\x04 not a state")
    with pytest.raises(RegRefineError, match="is damaged"):
        train(TINY, PAIRS, tmp_path, Run("cpu"))


def test_changed_code_is_a_warning(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Progress] = []
    monkeypatch.setattr(state_file, "code_version", lambda: "0.2.0+other")
    train(TINY, PAIRS, whole, Run("cpu", report=heard.append))
    assert [p.warning for p in heard] == [True, False]
    assert "all 6 steps are done" in heard[1].message
    assert "the code changed since step 6" in heard[0].message


def test_the_time_given_ends_a_run_and_saves_it(tmp_path: Path) -> None:
    train(TINY, PAIRS, tmp_path, Run("cpu", minutes=1e-9))
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 1


def test_a_loss_that_is_no_number_ends_with_a_sentence(tmp_path: Path) -> None:
    class Broken(SyntheticPairs):
        def sample(self, number: int, device: torch.device) -> Sample:
            sample = super().sample(number, device)
            return dataclasses.replace(sample, fixed=sample.fixed * math.nan)

    with pytest.raises(RegRefineError, match="the loss is no number at step 0"):
        train(TINY, Broken(PAIRS.synthesis), tmp_path, Run("cpu"))


def test_training_lowers_the_loss_and_raises_dice(tmp_path: Path) -> None:
    class One(SyntheticPairs):
        def sample(self, number: int, device: torch.device) -> Sample:
            return super().sample(7, device)

    source = One(dataclasses.replace(PAIRS.synthesis, bend=0.08))
    recipe = dataclasses.replace(TINY, steps=25, similarity="mean-squares", similarity_weight=10.0)
    recipe = dataclasses.replace(recipe, smooth_weight=1.0, ema=0.5)
    sample = source.sample(0, CPU)
    validation = Run("cpu", save_every=35, validation=[sample])
    train(recipe, source, tmp_path, validation)
    found = rows(tmp_path / LOG)
    assert found[-1]["total"] < 0.9 * found[0]["total"]
    torch.manual_seed(0)
    untrained = validate(FiReworkVM(**SMALL).eval(), [sample], 2)
    assert found[-1]["validation_dice"] > untrained["validation_dice"] + 0.02
    assert found[-1]["validation_folds_percent"] < 5
