"""The ladder that is climbed down when memory runs out, and the devices."""

import numpy as np
import pytest
import torch
from support.small import grid, image_on

from RegRefineLib import memory
from RegRefineLib import memory_model as costs
from RegRefineLib import plan as planning
from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job
from RegRefineLib.prepare import working_grid
from RegRefineLib.refine.none import refine
from RegRefineLib.registration import register

LARGE = grid((128, 128, 128), (1.0, 1.0, 1.0))
OUT = torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_the_resolution_is_halved_first_and_then_the_cpu_tried_at_the_one_asked_for():
    asked = job = Job(device="cuda", working_spacing_mm=1.5)
    told = []
    for _ in range(4):
        try:
            job, sentence = planning.smaller_job(job, asked, LARGE, OUT)
        except RegRefineError:
            break
        told.append((job.device, job.working_spacing_mm))
        assert "memory ran out" in sentence
    assert told[:3] == [("cuda", 3.0), ("cpu", 1.5), ("cpu", 3.0)]


def test_when_nothing_is_left_it_says_so():
    with pytest.raises(RegRefineError, match="even at low resolution"):
        planning.smaller_job(Job(device="cpu"), Job(device="cpu"), grid(), MemoryError())


def test_other_errors_go_through():
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        planning.smaller_job(Job(), Job(), LARGE, error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OUT,
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("Unable to find an engine to execute this computation"),
        RuntimeError("Invalid buffer size: 18.55 GB"),
    ],
)
def test_lack_of_memory_is_known_on_every_device(error):
    assert memory.is_out_of_memory(error)


def test_register_goes_on_at_half_the_resolution_and_warns(monkeypatch):
    shapes = []

    def greedy(pair, start, settings, report):
        shapes.append(pair.shape)
        if len(shapes) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return refine(pair, start, settings, report)

    monkeypatch.setattr("RegRefineLib.refine.none.refine", greedy)
    geometry = grid((66, 66, 66), (0.7, 0.7, 0.7))
    told = []
    job = Job(preset="fixed", refinement="none", device="cpu", affine="none")
    image = image_on(geometry)
    result = register(image, image, job, told.append)
    assert shapes == [(66, 66, 66), (33, 33, 33)]
    assert result.field.geometry.same_grid(geometry)
    assert any("trying 1.4 mm voxels" in warning for warning in result.warnings)
    assert any(p.warning and "memory" in p.message for p in told)
    assert result.job.working_spacing_mm == pytest.approx(1.4)
    assert np.abs(result.field.vectors).max() < 1e-6


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RegRefineError, match="no cuda here"):
        memory.device("cuda")
    assert memory.device("cpu") == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(memory, "shortcoming", lambda name: "")
    assert memory.device("cuda:1") == "cuda:1"
    assert memory.device("auto") == "cuda"
    with pytest.raises(RegRefineError, match="no cuda:2 here; there are 2"):
        memory.device("cuda:2")


def test_the_working_grid_is_planned_to_fit_into_the_free_memory(monkeypatch):
    job = Job(device="cpu", refinement="pyramid")
    needed = costs.bytes_per_voxel(job)
    monkeypatch.setattr(planning, "free_bytes", lambda _: 0.25 * LARGE.voxel_count * needed)
    planned, sentence = planning.fit_into_memory(job, LARGE)
    voxels = working_grid(LARGE, planned.working_spacing_mm).voxel_count
    assert 0.5 < voxels / (0.7 * 0.25 * LARGE.voxel_count) <= 1.0
    assert "mm voxels" in sentence


@pytest.mark.parametrize(
    ("job", "free"),
    [
        (Job(device="cpu", refinement="pyramid"), 10**12),
        (Job(device="cpu", refinement="pyramid", working_spacing_mm=1.0), 10**6),
        (Job(device="cpu", refinement="pyramid"), None),
        (Job(device="cpu", start="network"), 10**6),
    ],
)
def test_what_fits_was_chosen_or_is_not_known_is_left_alone(monkeypatch, job, free):
    monkeypatch.setattr(planning, "free_bytes", lambda _: free)
    assert planning.fit_into_memory(job, LARGE) == (job, "")


def test_the_plan_is_said_in_the_result(monkeypatch):
    monkeypatch.setattr(planning, "free_bytes", lambda _: 10**7)
    image = image_on(grid((48, 48, 48), (1.0, 1.0, 1.0)))
    result = register(image, image, Job(device="cpu", affine="none", settings={"steps": 1}))
    assert result.job.working_spacing_mm > 1.0
    assert any("are free on cpu" in warning for warning in result.warnings)
    assert result.field.geometry.shape == (48, 48, 48)


def test_free_memory_is_known_or_not_told():
    free = memory.free_bytes("cpu")
    assert free is None or 2**20 < free < 2**50


def test_a_torch_without_kernels_for_a_gpu_is_not_asked_to_run_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    memory.shortcoming.cache_clear()
    if torch.backends.cuda.is_built():
        pytest.skip("this torch may have kernels for a GPU")
    name, sentence = memory.choose_device("auto")
    assert name == "cpu"
    assert "running on the CPU, because torch" in sentence
    with pytest.raises(RegRefineError, match="cuda cannot be used with torch"):
        memory.device("cuda")
    memory.shortcoming.cache_clear()


def test_free_memory_of_a_gpu_counts_the_own_cache_and_asks_by_number(monkeypatch):
    asked = []

    def info(index):
        asked.append(index)
        return 100, 1000

    monkeypatch.setattr("torch.cuda.mem_get_info", info)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 3)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda name: 70)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda name: 20)
    assert memory.free_bytes("cuda") == 150
    assert memory.free_bytes("cuda:1") == 150
    assert asked == [3, 1]  # torch before 2.5 takes no device without a number
