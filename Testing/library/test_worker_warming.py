"""A worker that waits compiles the loops, and stops that as soon as a job comes."""

from __future__ import annotations

import io
import json
import time

import pytest

from RegRefineLib.worker import server, warming
from RegRefineLib.worker.event_stream import Outbox


@pytest.fixture
def reports(monkeypatch):
    """Count the steps of the small run."""
    seen = []

    def register(fixed, moving, job, report, extras):
        for step in range(20):
            seen.append(step)
            report(step)

    monkeypatch.setattr(warming, "register", register)
    monkeypatch.setattr(warming, "device", lambda _: "cpu")
    monkeypatch.setattr(warming, "available", lambda: True)
    return seen


def test_the_small_run_is_given_up_when_a_job_comes(reports):
    warming.compile_loops(lambda: len(reports) == 5)
    assert len(reports) == 5


def test_a_failure_of_the_small_run_is_only_logged(monkeypatch, reports, capsys):
    def register(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(warming, "register", register)
    warming.compile_loops(lambda: False)
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("device", "cuda"), ("available", False)])
def test_nothing_is_compiled_that_no_job_would_use(monkeypatch, reports, name, value):
    monkeypatch.setattr(warming, name, lambda *_: value)
    warming.compile_loops(lambda: False)
    assert not reports


def test_the_real_run_of_the_default_preset_goes_through(capsys):
    steps = []

    def wanted():
        steps.append(1)
        return False

    warming.compile_loops(wanted)
    assert len(steps) > 100
    assert not capsys.readouterr().err


@pytest.mark.parametrize("sent", [True, False])
def test_a_worker_compiles_only_where_no_job_was_sent_with_the_start(
    monkeypatch, tmp_path, reports, sent
):
    monkeypatch.setattr(server, "_real_register", lambda _: None)
    stream = io.StringIO()

    def commands():
        if sent:
            yield f"run {tmp_path}"
        while "ready" not in stream.getvalue() or not (sent or reports):
            time.sleep(0.01)
        if sent:
            while "error" not in stream.getvalue():
                time.sleep(0.01)

    server.serve(commands(), Outbox(stream, leave=lambda _: None))
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events[:2] == ["hello", "ready"]
    assert bool(reports) != sent
