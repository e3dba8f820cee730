"""The estimate learns from this machine's runs, also those of earlier sessions."""

from __future__ import annotations

import pytest
from RegRefineBridge.workflow.estimate import estimate
from RegRefineBridge.workflow.interfaces import Inputs, PairSize, Request
from RegRefineBridge.workflow.presenter import Presenter
from RegRefineBridge.workflow.timings import MOST, Timings
from support.presenter_fakes import FakeScene, FakeWorker

from RegRefineLib.job import Job

SIZE = PairSize(120, 120, (1.0, 2.0, 3.0))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def session(tmp_path):
    """A maker of sessions that share a file of timings; run(seconds, waited) is one run."""

    def begin():
        worker, clock = FakeWorker(), Clock()
        count = iter(range(1000))

        def folder():
            made = tmp_path / f"{id(worker)}-{next(count)}"
            made.mkdir()
            return made

        timings = Timings(tmp_path / "deep" / "timings.json")
        presenter = Presenter(FakeScene(), worker, folder, timings, clock)

        def run(seconds, waited, job=None, **changes):
            assert presenter.start(Request(Inputs("a", "b"), job or Job()))
            clock.now += waited
            worker.finish(seconds={"refine": seconds}, **changes)
            return presenter

        return run

    return begin


def test_what_the_user_waited_is_learnt_and_kept_for_the_next_session(session, tmp_path):
    session()(10.0, 25.0)
    found = estimate(SIZE, Job(), Timings(tmp_path / "deep" / "timings.json"))
    assert found.measured
    assert found.seconds == pytest.approx(25.0)  # not the 10 s of the stages


def test_other_methods_and_stopped_runs_say_nothing(session, tmp_path):
    run = session()
    run(10.0, 25.0, Job(refinement="none"))
    run(10.0, 25.0, stopped=True)
    assert not estimate(SIZE, Job(), Timings(tmp_path / "deep" / "timings.json")).measured


def test_the_run_nearest_in_size_is_scaled(session, tmp_path):
    presenter = session()(10.0, 10.0)
    timings = Timings(tmp_path / "deep" / "timings.json")
    near = estimate(PairSize(240, 240, (1.0, 2.0, 3.0)), Job(), timings)
    assert near.seconds == pytest.approx(20.0, rel=0.1)
    assert presenter.estimate(Request(Inputs("a", "b"), Job())).measured


def test_a_broken_file_is_no_error_and_the_file_stays_small(session, tmp_path):
    path = tmp_path / "deep" / "timings.json"
    path.parent.mkdir()
    path.write_text("{ not json", encoding="ascii")
    run = session()
    for _ in range(3):
        run(1.0, 2.0)
    assert len(list(Timings(path))) == 3
    assert len(path.read_bytes()) < MOST * 1000
