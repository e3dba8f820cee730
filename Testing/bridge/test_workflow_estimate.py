"""Time and memory before a run: linear in the voxels, honest about what was not measured."""

from __future__ import annotations

import pytest
from RegRefineBridge.workflow.estimate import BASE_MB, estimate, workingVoxels
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
    assert found.seconds == pytest.approx(seconds, rel=0.25)
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
