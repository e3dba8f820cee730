"""Runs from scripts: what they give back, and what a mistake or an error leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport
from RegRefineBridge.workflow.interfaces import Inputs, Request
from RegRefineBridge.workflow.job_folders import JobFolders
from RegRefineBridge.workflow.presenter import Presenter
from RegRefineBridge.workflow.scripting import requestFor, runBlocking
from support.paths import SUPPORT
from support.presenter_fakes import GRID, FakeScene

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job

OUTPUTS = ("transform", "warpedVolume", "jacobian")
REQUEST = Request(Inputs("fixed", "moving"), Job())


@pytest.fixture(scope="module")
def worker():
    behaviours = str(SUPPORT / "worker_behaviours.py")
    client = WorkerClient(SubprocessTransport, arguments=(behaviours, "steps"))
    yield client
    client.close()


@pytest.fixture
def presenter(worker, tmp_path):
    return Presenter(FakeScene(), worker, JobFolders(tmp_path))


def test_a_run_comes_back_with_nodes_numbers_warnings_and_the_field(presenter):
    breaths = []
    run = runBlocking(presenter, REQUEST, breathe=lambda: breaths.append(1))
    assert run.nodes == {"transform": "transform 1"}
    assert run.metrics["before"] == {"ncc": 0.5}
    assert run.metrics["after"] == {"ncc": 0.7}
    assert run.warnings == ()
    assert run.field.geometry.same_grid(GRID)
    np.testing.assert_allclose(run.field.vectors, 60.0, atol=1e-3)
    assert len(breaths) > 5
    assert list(presenter.runs) == [run]  # in the panel's list as well
    assert presenter.shown() is run


def test_an_error_of_the_listener_ends_the_run_and_the_next_one_starts(presenter, tmp_path):
    heard = []
    presenter.onChanged = heard.append

    def fails(state):
        if state.losses:
            raise KeyError("of the script")

    with pytest.raises(KeyError, match="of the script"):
        runBlocking(presenter, REQUEST, fails)
    assert not presenter.state.busy
    assert heard  # the panel heard as well
    assert list(tmp_path.iterdir()) == []
    assert runBlocking(presenter, REQUEST).number == 1
    assert presenter.onChanged == heard.append


def test_a_second_run_from_within_the_first_is_the_documented_error(presenter):
    errors = []

    def enters(state):
        if state.losses and not errors:
            try:
                runBlocking(presenter, REQUEST)
            except RegRefineError as error:
                errors.append(str(error))

    runBlocking(presenter, REQUEST, enters)
    assert "under way" in errors[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wanted": ("transform", "jacobean")}, "jacobean; known are jacobian, transform"),
        ({"wanted": "inverted"}, "inverted"),
        ({"chosen": {"volume": "x"}}, "unknown chosen output volume"),
        ({"fixedsegmentation": "x"}, "unknown option fixedsegmentation"),
        ({"job": 3}, "job: a Job or the name"),
    ],
)
def test_unknown_names_are_refused(options, words):
    job = options.pop("job", None)
    with pytest.raises(RegRefineError, match=words):
        requestFor("f", "m", job, OUTPUTS, ("transform",), **options)


def test_one_output_may_be_named_alone():
    request = requestFor("f", "m", "fast", OUTPUTS, ("transform",), wanted="jacobian")
    assert request.wanted == ("jacobian",)
    assert request.job.jacobian
    assert request.job.preset == "fast"
