"""Weights that are not here: what is asked, what a no does, how they come, how they are stopped."""

from __future__ import annotations

import time

import pytest
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport
from RegRefineBridge.workflow import weights as models
from RegRefineBridge.workflow.interfaces import Inputs, Request, State
from RegRefineBridge.workflow.presenter import Presenter
from RegRefineBridge.workflow.progress import followed
from support.http_files import serving
from support.paths import SUPPORT
from support.presenter_fakes import FakeScene, FakeWorker
from support.small_model import digest, list_model, use_folders

from RegRefineLib.errors import Cancelled
from RegRefineLib.job import Job
from RegRefineLib.weights import store
from RegRefineLib.weights.catalogue import find_model, local_file
from RegRefineLib.worker.server import _fetch

CONTENT = bytes(range(256)) * 12000  # three pieces of a download
NETWORK = Job(start="network", start_settings={"weights": "small"})


@pytest.fixture
def served(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(CONTENT) as served:
        list_model(tmp_path, url=served.url, sha256=digest(CONTENT), size_mb=3)
        yield served


def desk(folder, worker):
    scene = FakeScene()
    folders = iter(folder / f"run {n}" for n in range(9))
    return Presenter(scene, worker, lambda: next(folders)), scene


def request(download=False, job=NETWORK):
    return Request(Inputs("fixed", "moving"), job, download=download)


def test_the_question_says_what_comes_and_under_which_licence(served, tmp_path):
    presenter, _ = desk(tmp_path, FakeWorker())
    question = presenter.question(request())
    for word in ("small", "about 3 MB", "CC0-1.0", served.url, str(store.cache_folder())):
        assert word in question
    assert "checksum" not in question
    assert "about 3 MB" in models.summary(NETWORK)


def test_a_missing_checksum_is_said(served, tmp_path):
    list_model(tmp_path, url=served.url)
    assert "checksum" in models.question([find_model("small")])


def test_without_a_network_nothing_is_asked(served, tmp_path):
    presenter, _ = desk(tmp_path, FakeWorker())
    assert presenter.question(request(job=Job())) == ""
    assert models.summary(Job()) == ""


def test_a_no_starts_and_changes_nothing(served, tmp_path):
    worker = FakeWorker()
    presenter, scene = desk(tmp_path, worker)
    assert not presenter.start(request())
    assert "small" in presenter.state.message
    assert not worker.running
    assert scene.contents == {}
    assert served.asked == []
    assert local_file(find_model("small")) is None
    assert not list(tmp_path.glob("run *"))


def test_weights_that_no_program_can_get_keep_apply_off(served, tmp_path):
    list_model(tmp_path, page="https://example.org/weights")
    presenter, _ = desk(tmp_path, FakeWorker())
    assert "https://example.org/weights" in presenter.missing(request())[0]
    assert models.summary(NETWORK) == ""


def test_a_yes_brings_the_weights_in_the_worker_and_then_the_run(served, tmp_path):
    behaviours = str(SUPPORT / "worker_behaviours.py")
    client = WorkerClient(SubprocessTransport, arguments=(behaviours, "warner"))
    presenter, scene = desk(tmp_path, client)
    stages = []
    presenter.onChanged = lambda state: stages.append(state.stage)
    try:
        assert presenter.start(request(download=True))
        end = time.monotonic() + 60
        while presenter.state.busy:
            assert time.monotonic() < end, presenter.state
            presenter.poll()
            time.sleep(0.01)
        assert local_file(find_model("small")).read_bytes() == CONTENT
        assert any(stage.startswith("Downloading small") for stage in stages)
        assert scene.contents == {"transform 1": 0.0}
        assert presenter.question(request()) == ""
    finally:
        presenter.close()


def test_a_dropped_download_ends_at_its_next_piece_and_goes_on_from_there(served):
    def drop(progress):
        raise Cancelled

    with pytest.raises(Cancelled):
        _fetch("small", drop)
    assert local_file(find_model("small")) is None
    told = []
    _fetch("small", told.append)
    assert local_file(find_model("small")).read_bytes() == CONTENT
    assert served.asked[0] == ""
    assert served.asked[1].startswith("bytes=")
    assert {(each.stage, each.message) for each in told} == {("download", "small")}
    assert told[-1].step == told[-1].steps == len(CONTENT) >> 20


def test_a_download_has_a_bar_of_its_own():
    event = {
        "event": "progress",
        "stage": "download",
        "loss": {},
        "metrics": {},
        "message": "small",
    }
    half = followed(State(phase="running"), {**event, "step": 5, "steps": 10})
    assert half.stage == "Downloading small (5 of 10 MB)"
    assert 0.5 <= half.fraction <= 0.6
    after = followed(half, {**event, "stage": "prepare", "message": "", "step": 0, "steps": 0})
    assert after.fraction < 0.1
