"""Time and memory before a run: linear in the voxels, honest about what was not measured."""

from __future__ import annotations

import pytest
from RegRefineBridge.workflow.estimate import (
    BASE_MB,
    TRANSFER_S,
    WORKER_S,
    estimate,
    voxelWords,
    workingVoxels,
)
from RegRefineBridge.workflow.interfaces import PairSize
from RegRefineBridge.workflow.progress import timeWords

from RegRefineLib.job import Job

CUBE = PairSize(96**3, 96**3, (1.0, 1.0, 1.0))
COARSE = {"levels": "4:40 2:30"}
REG_TTR = Job(affine="affine", start="none", refinement="reg-ttr")


@pytest.mark.parametrize(
    ("job", "seconds", "megabytes"),
    [
        (REG_TTR, 7.5 + 4.1 + 1.3, 829),
        (Job(preset="default", affine="none"), 3.7 + 0.8, 634),
        (Job(preset="fast", affine="none", settings=COARSE), 1.0 + 0.7, 564),
        (Job(preset="multimodal", affine="none"), 2.5 + 0.8, 593),
        (Job(affine="rigid", refinement="none"), 5.4 + 1.2, 558),
    ],
)
def test_it_agrees_with_what_was_measured_on_a_cube_of_96(job, seconds, megabytes):
    """The stages' seconds on one core, and the peak of the process."""
    found = estimate(CUBE, job)
    transfer = TRANSFER_S[0] + TRANSFER_S[1] * 96**3 / 1e6
    assert found.seconds - transfer == pytest.approx(seconds, rel=0.25)
    assert found.memoryMb == pytest.approx(megabytes, rel=0.2)
    assert not found.measured


def test_more_steps_and_voxels_take_longer():
    base = estimate(CUBE, REG_TTR)
    more = estimate(CUBE, REG_TTR.replaced(settings={"steps": 100}))
    assert more.seconds > base.seconds + 40
    larger = estimate(PairSize(8 * 96**3, 96**3, (1.0, 1.0, 1.0)), REG_TTR)
    assert larger.memoryMb - BASE_MB == pytest.approx(8 * (base.memoryMb - BASE_MB))


def test_a_coarser_working_grid_takes_less():
    size = PairSize(1_000_000, 1_000_000, (1.0, 1.0, 4.0))
    assert workingVoxels(size, 0.0) == 1_000_000
    assert workingVoxels(size, 2.0) == 250_000
    assert workingVoxels(size, None) == 1_000_000


def test_what_was_not_measured_is_not_guessed():
    network = estimate(CUBE, REG_TTR.replaced(start="network"))
    assert network.seconds is None
    assert network.memoryMb is None
    assert "not known" in network.words()
    assert estimate(CUBE, REG_TTR.replaced(device="cuda")).seconds is None


def test_the_words_name_size_time_and_memory():
    words = estimate(CUBE, REG_TTR).words()
    assert words.startswith("0.9 million voxels, about ")
    assert "GB of memory" in words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (99, "99 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")]
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert timeWords(seconds) == words


def test_nothing_takes_no_time():
    small = PairSize(20_000, 20_000, (2.0, 2.0, 2.0))
    for preset in ("cardiac", "default", "fast"):
        assert estimate(small, Job(preset=preset)).seconds >= 1.0


def test_a_worker_that_must_be_started_first_is_counted():
    cold, warm = (estimate(CUBE, REG_TTR, warm=there).seconds for there in (False, True))
    assert cold - warm == pytest.approx(WORKER_S)


@pytest.mark.parametrize(
    ("count", "words"),
    [(62_208, "62,000 voxels"), (900, "900 voxels"), (6_881_280, "6.9 million voxels")],
)
def test_voxels_are_said_with_two_digits(count, words):
    assert voxelWords(count) == words


def test_the_library_s_own_constants_are_used(monkeypatch):
    before = estimate(CUBE, REG_TTR).seconds
    monkeypatch.setattr("RegRefineLib.time_model.FINISH_S", (100.1, 0.7))
    assert estimate(CUBE, REG_TTR).seconds == pytest.approx(before + 100)
