"""The models that ship: whole, small, explained, and better than nothing on what they never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from RegRefineLib.bench.cases import cases_file, read_cases
from RegRefineLib.job import Job
from RegRefineLib.metrics.jacobian import determinant, folds_percent
from RegRefineLib.metrics.overlap import count_labels, dice, mean
from RegRefineLib.ops.warp import warp
from RegRefineLib.registration import register
from RegRefineLib.resample import resample
from RegRefineLib.training.convolution import quick_convolutions
from RegRefineLib.training.synthetic import Synthesis, SyntheticPairs
from RegRefineLib.weights import catalogue, load, store

CPU = torch.device("cpu")
BUNDLED = [m for m in catalogue.catalogue().values() if catalogue.status(m) == "bundled"]


def test_a_brain_model_and_one_for_any_anatomy_are_bundled() -> None:
    assert {"regrefine-brain", "regrefine-any"} <= {model.name for model in BUNDLED}


@pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.name)
def test_a_bundled_model_is_whole_small_and_explained(model: catalogue.Model) -> None:
    assert store.verify(model.name) == model.sha256
    path = catalogue.local_file(model)
    assert path is not None
    assert path.suffix == ".safetensors"
    megabytes = path.stat().st_size / 1e6
    assert megabytes < 16
    assert megabytes == pytest.approx(model.size_mb, abs=0.01)
    assert model.licence == "Apache-2.0"
    assert "train_models.py" in model.training
    # what the file says of itself is what the catalogue says
    assert load.load(str(path)).preprocessing == model.preprocessing


def overlap(sample, displacement: torch.Tensor) -> float:
    moved = warp(sample.moving_labels.float(), displacement, mode="nearest")
    maps = (sample.fixed_labels, moved.long())
    return mean(dice(count_labels(*(m[0, 0].numpy().astype(np.int64) for m in maps))))


def test_the_model_for_any_anatomy_brings_shapes_it_never_saw_together() -> None:
    network = load.load("regrefine-any").network
    source = SyntheticPairs(Synthesis(shape=(48, 48, 48), bend=0.04, seed=20_000))
    before, after, folds = [], [], []
    for number in range(6):
        sample = source.sample(number, CPU)
        with torch.no_grad(), quick_convolutions(CPU):
            displacement = network(sample.moving, sample.fixed)
        before.append(overlap(sample, torch.zeros_like(displacement)))
        after.append(overlap(sample, displacement))
        folds.append(folds_percent(determinant(displacement[0].double().numpy())))
    assert np.mean(after) > np.mean(before) + 0.05
    assert np.mean(folds) < 0.5


def test_the_brain_model_brings_real_brains_together(data_dir: Path) -> None:
    case = read_cases(cases_file(None), data_dir)[0]["brain_vxm_oriented"][0]
    fixed, moving = case.images()
    fixed_labels, moving_labels = case.label_maps()
    job = Job(
        affine="none",
        start="network",
        start_settings={"weights": "regrefine-brain"},
        refinement="none",
        device="cpu",
    )
    result = register(fixed, moving, job)

    def judged(labels: np.ndarray) -> float:
        maps = (fixed_labels.array.astype(np.int64), labels.astype(np.int64))
        return mean(dice(count_labels(*maps)))

    moved = resample(moving_labels, fixed.geometry, result.field, "nearest").array
    assert judged(moved) > judged(moving_labels.array) + 0.02
