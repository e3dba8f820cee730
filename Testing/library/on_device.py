"""The library on a device with memory of its own, beside the CPU.

    python -m pytest Testing/library/on_device.py                          # the simulated device
    REGREFINE_DEVICE=cuda python -m pytest Testing/library/on_device.py    # a real one

It has a process to itself (test_device.py starts one): torch counts the devices at the first
backward pass of a process, and the simulated one must be known by then.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from support import simulated_device
from support.small_networks import SMALL, small
from torch import Tensor

from RegRefineLib import cli, memory
from RegRefineLib.finish import Finish
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import Extras, Job, Result
from RegRefineLib.losses import ncc
from RegRefineLib.networks.base import autocast
from RegRefineLib.pair import Refined
from RegRefineLib.registration import register
from RegRefineLib.registry import NETWORKS, SIMILARITIES
from RegRefineLib.weights.checkpoint import save

DEVICE = os.environ.get("REGREFINE_DEVICE", simulated_device.NAME)
IS_SIMULATED = DEVICE == simulated_device.NAME
SHAPE = (28, 26, 24)
pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(
        IS_SIMULATED and bool(simulated_device.why_not()), reason=simulated_device.why_not() or "-"
    ),
]
simulated = pytest.mark.skipif(not IS_SIMULATED, reason="needs the simulated device")


@pytest.fixture(scope="module", autouse=True)
def device() -> Any:
    """The simulated device, which counts; None on a real one."""
    return simulated_device.load() if IS_SIMULATED else None


def images() -> tuple[Volume, Volume]:
    """A smooth random image, and the same through a smooth displacement of up to 2 voxels."""
    random = np.random.default_rng(0)
    still = ndimage.gaussian_filter(random.random(SHAPE), 1.5)
    still = (still - still.min()) / np.ptp(still)
    moves = [ndimage.gaussian_filter(random.standard_normal(SHAPE), 4) for _ in range(3)]
    moved = ndimage.map_coordinates(
        still,
        np.indices(SHAPE) + 2.0 * np.stack(moves) / np.abs(moves).max(),
        order=1,
        mode="nearest",
    )
    geometry = Geometry.from_parts(SHAPE, (1, 1, 1), np.eye(3), (0, 0, 0))
    return tuple(Volume(a.astype(np.float32), geometry) for a in (still, moved))  # type: ignore[return-value]


def run(on: str, extras: Extras | None = None, **job: Any) -> Result:
    return register(*images(), Job(device=on, **job), extras=extras)


def check_agreement(extras: Extras | None = None, **job: Any) -> Result:
    """Compare with the CPU: 0.05 voxel on 99.9 % of the voxels."""
    there, here = (run(on, extras, **job) for on in (DEVICE, "cpu"))
    assert there.device == DEVICE
    gap = np.abs(there.field.vectors - here.field.vectors).max(axis=-1)
    share = 0.99 if job["preset"] == "convexadam" else 0.999  # Adam's first steps are signs
    assert float(np.quantile(gap, share)) < 0.05
    assert float(np.abs(there.field.vectors).max()) > 0.05
    return there


PRESETS: list[dict[str, Any]] = [
    {"preset": "default", "affine": "none", "settings": {"levels": "4:10 2:6 1:3"}},
    {"preset": "fast", "inverse": True, "jacobian": True, "settings": {"levels": "2:10 1:3"}},
    {"preset": "fast", "affine": "none", "settings": {"symmetric": True, "levels": "2:8 1:3"}},
    {"preset": "reg-ttr-mended", "affine": "none"},
    {"preset": "reg-ttr-released", "affine": "none"},
    {"preset": "convexadam", "affine": "none", "start_settings": {"spacing": 3}},
]


@pytest.mark.parametrize("job", PRESETS, ids=lambda job: f"{job['preset']}-{len(job)}")
def test_a_preset_gives_on_a_device_what_it_gives_on_the_cpu(job: dict[str, Any]) -> None:
    initial = None
    if job["preset"].startswith("reg-ttr"):
        # at whole voxels the slope of linear interpolation is one of two, by rounding
        geometry = images()[0].geometry
        vectors = np.random.default_rng(2).uniform(0.2, 0.4, (*SHAPE, 3)).astype(np.float32)
        initial = DisplacementField(vectors, geometry)
        job = {**job, "start": "initial"}
    check_agreement(Extras(initial=initial), **job)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_similarity_and_its_gradient_are_those_of_the_cpu(name: str) -> None:
    from RegRefineLib.registry import find

    found = []
    for on in (DEVICE, "cpu"):
        fixed, moving = (torch.from_numpy(v.array.copy())[None, None].to(on) for v in images())
        moving.requires_grad_()
        loss = find("similarity", name)(fixed, moving, (fixed > 0.1).float())
        loss.backward()
        found.append((loss.detach().cpu(), moving.grad.cpu()))
    (there, slope), (here, other) = found
    assert torch.allclose(there, here, rtol=1e-4, atol=1e-6)
    assert torch.allclose(slope, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()))


def test_labels_and_landmarks_drive_a_run_there() -> None:
    still, moved = images()
    maps = [
        Volume((v.array > 0.5).astype(np.int16) + (v.array > 0.7), v.geometry)
        for v in (still, moved)
    ]
    points = np.random.default_rng(1).uniform(5, 15, (6, 3))
    extras = Extras(
        fixed_labels=maps[0], moving_labels=maps[1], fixed_mask=maps[0],
        fixed_landmarks=points, moving_landmarks=points + 0.5,
    )  # fmt: skip
    settings = {"labels": 1, "landmarks": 1, "levels": "2:8 1:3"}
    there, here = (
        run(on, extras, preset="fast", affine="none", settings=settings) for on in (DEVICE, "cpu")
    )
    gap = np.abs(there.field.vectors - here.field.vectors).max(axis=-1)
    assert float(gap.mean()) < 0.02  # single voxels change their label by rounding


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_s_forward_is_that_of_the_cpu(name: str) -> None:
    network = small(name).eval()
    shape = network.fitting((16, 16, 16))
    moving, fixed = torch.rand((2, 1, 1, *shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        here = network(moving, fixed)
        network.to(DEVICE)
        with autocast(torch.device(DEVICE), "float32"):
            there = network(moving.to(DEVICE), fixed.to(DEVICE))
    assert there.device.type == DEVICE
    assert torch.allclose(there.cpu(), here, atol=1e-4 * max(1.0, float(here.abs().max())))


@pytest.mark.parametrize("name", ["firework-vm", "lapwarp", "transmorph"])
def test_a_step_of_training_runs_there(name: str, tmp_path: Path) -> None:
    options = [f"network.{n}={json.dumps(v)}" for n, v in SMALL.get(name, {}).items()]
    settings = [w for o in [*options, "steps=1", "dice_weight=1"] for w in ("--set", o)]
    sizes = ["--shape", "32", "32", "32", "--validation", "1"]
    words = ["train", str(tmp_path), "--network", name, *sizes, "--device", DEVICE, *settings]
    assert cli.main(words) == 0


@pytest.mark.parametrize("refinement", ["firework", "network-io"])
def test_refinements_with_a_network_run_there(refinement: str, tmp_path: Path) -> None:
    options = SMALL["firework-vm"]
    save(tmp_path / "weights", small("firework-vm"), "firework-vm", options)
    settings = {"weights": str(tmp_path / "weights"), "steps": 1}
    start = {"weights": str(tmp_path / "weights")}
    job = {"start": "network", "start_settings": start, "affine": "none"}
    check = run(DEVICE, refinement=refinement, settings=settings, **job)
    assert np.isfinite(check.field.vectors).all()


@pytest.mark.parametrize("keep", ["best", "last", "after-best"])
def test_early_stopping_takes_the_same_steps_there(keep: str) -> None:
    settings = {"patience": 2, "steps": 12, "learning_rate": 0.9, "keep": keep}
    job = {"refinement": "reg-ttr", "affine": "none", "settings": settings}
    there, here = (run(on, **job) for on in (DEVICE, "cpu"))
    assert [row["step"] for row in there.history] == [row["step"] for row in here.history]
    assert len(here.history) < 10


def test_a_global_choice_of_coarse_products_does_not_reach_a_run() -> None:
    during = []
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        register(
            *images(),
            Job(device="cpu", refinement="none", affine="none"),
            report=lambda _: during.append(
                (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
            ),
        )
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert set(during) == {("highest", False)}
    assert torch.backends.cudnn.allow_tf32 == before[1]


# --- the ladder when memory runs out --------------------------------------------------------------


@simulated
def test_a_failed_attempt_leaves_nothing_on_the_device(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the job's peak on every allocation fails: half the resolution, then the CPU."""
    in_use: list[int] = []
    began = memory.start_counting

    def counting(name: str) -> None:
        memory.synchronise(name)
        in_use.append(device.counts()["in_use"])
        began(name)

    monkeypatch.setattr(memory, "start_counting", counting)
    gc.collect()
    job = {"preset": "fast", "affine": "none", "settings": {"levels": "2:3 1:2"}}
    device.reset_counts()
    run(DEVICE, **job)
    gc.collect()
    left, whole = device.counts()["in_use"], device.counts()["peak"]
    monkeypatch.setattr("RegRefineLib.plan._SMALLEST_VOXELS", 12**3)
    for limit, ending in ((whole // 2, DEVICE), (left + 1000, "cpu")):
        in_use.clear()
        with simulated_device.failing(limit_bytes=limit):
            result = run(DEVICE, **job)
        assert result.device == ending
        assert any("memory ran out" in w for w in result.warnings)
        per_voxel = [(n - left) / np.prod(SHAPE) for n in in_use[1:]]
        assert per_voxel
        assert max(per_voxel) <= 5.0


@simulated
def test_want_of_memory_at_the_end_repeats_the_end_alone(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    plain = Finish.result

    def result(self: Finish, refined: Refined, job: Job) -> Result:
        done.append(refined.displacement.device.type)
        if len(done) == 1:
            with simulated_device.failing(at=1):
                return plain(self, refined, job)
        return plain(self, refined, job)

    monkeypatch.setattr(Finish, "result", result)
    heard: list[str] = []
    job = Job(device=DEVICE, preset="fast", affine="none", inverse=True)
    job = dataclasses.replace(job, settings={"levels": "2:2"})
    found = register(*images(), job, report=lambda p: heard.append(p.stage))
    assert done == [DEVICE, "cpu"]
    assert found.inverse is not None
    assert any("the CPU makes the result" in w for w in found.warnings)
    stages = [s for n, s in enumerate(heard) if n == 0 or heard[n - 1] != s]
    assert stages.count("refine") == 1


@simulated
@pytest.mark.parametrize("at", [1, 7, 40, 150, 400, 900])
def test_whichever_allocation_fails_the_run_ends_with_a_result(at: int) -> None:
    with simulated_device.failing(at=at):
        result = run(DEVICE, preset="fast", affine="none", settings={"levels": "2:3 1:2"})
    assert np.isfinite(result.field.vectors).all()


# --- what a device may lack ----------------------------------------------------------------------


@simulated
@pytest.mark.parametrize("job", PRESETS, ids=lambda job: f"{job['preset']}-{len(job)}")
def test_no_preset_needs_float64_or_what_mps_never_had(job: dict[str, Any]) -> None:
    lacking = ("aten::take", "aten::_adaptive_avg_pool3d", "aten::adaptive_avg_pool3d.out")
    with simulated_device.refusing(*lacking, float64=True):
        run(DEVICE, **job)


@simulated
def test_a_device_that_lacks_what_a_run_needs_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "GPUS", (DEVICE,))
    memory.shortcoming.cache_clear()
    assert memory.choose_device("auto") == (DEVICE, "")
    for operation in ("aten::grid_sampler_3d", "aten::grid_sampler_3d_backward"):
        memory.shortcoming.cache_clear()
        with simulated_device.refusing(operation):
            name, sentence = memory.choose_device("auto")
            assert name == "cpu"
            assert operation in sentence
            with pytest.raises(Exception, match=f"{DEVICE} cannot be used"):
                memory.device(DEVICE)
    memory.shortcoming.cache_clear()


# --- that the simulation sees mistakes -----------------------------------------------------------


def test_a_planted_mixture_of_devices_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 1, 4, 4, 4, device=DEVICE)
    elsewhere = torch.ones(1, 1, 4, 4, 4)
    for mistake in (
        lambda: image + elsewhere,
        lambda: torch.cat([image, elsewhere]),
        lambda: torch.nn.functional.conv3d(image, elsewhere[..., :3, :3, :3]),
        lambda: torch.nn.functional.grid_sample(
            image, torch.zeros(1, 2, 2, 2, 3), align_corners=True
        ),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mistake()
    plain = ncc.local_ncc

    def mixing(fixed: Tensor, moving: Tensor, mask: Tensor | None = None) -> Tensor:
        return plain(fixed, moving, mask) * torch.ones(1)

    monkeypatch.setattr("RegRefineLib.losses.ncc.local_ncc", mixing)
    settings = {"similarity": "ncc", "steps": 1}
    with pytest.raises(RuntimeError, match="same device"):
        run(DEVICE, refinement="reg-ttr", affine="none", settings=settings)
