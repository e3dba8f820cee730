"""The worker process from the outside: what a program that uses it sees."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from support.worker_behaviours import STEPS, result_of
from support.worker_watch import small_job, watchers

from RegRefineLib.job import Progress
from RegRefineLib.worker.event_stream import Outbox
from RegRefineLib.worker.job_folder import read_result
from RegRefineLib.worker.server import serve


@pytest.fixture
def watch():
    yield from watchers()


@pytest.fixture
def job_folder(tmp_path):
    return small_job(tmp_path)


def test_a_run_reports_while_it_goes_on_and_leaves_a_result(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    assert watcher.client.running
    assert not (job_folder / "result.json").exists()
    watcher.until(watcher.ended)
    assert watcher.names()[:2] == ["hello", "started"]
    assert watcher.events[0]["protocol"] == 1
    assert not watcher.failures
    assert not watcher.finished[0]["stopped"]
    assert Path(watcher.finished[0]["folder"]) == job_folder
    result = read_result(job_folder)
    assert result.transform.grid.vectors.max() == STEPS
    assert len(result.record["history"]) == STEPS


def test_events_carry_times_and_come_at_most_ten_times_a_second(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    times = [e["time"] for e in watcher.events if e["event"] == "progress"]
    assert times == sorted(times)
    assert times[-1] - times[0] > 0.5 * STEPS * 0.02
    worst = max(sum(t <= other < t + 1.0 for other in times) for t in times)
    assert 4 <= worst <= 10
    assert watcher.events[-1]["step"] == STEPS - 1  # the last step is never swallowed


def test_the_outbox_keeps_only_the_latest_of_many_events():
    stream = io.StringIO()
    outbox = Outbox(stream)
    for step in range(1000):
        outbox.progress(Progress("refine", step, 1000))
    outbox.post("done")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) <= 4
    assert lines[-1]["event"] == "done"
    assert lines[-2]["step"] == 999
    assert stream.getvalue().isascii()


def test_numbers_of_other_kinds_are_written_as_numbers():
    stream = io.StringIO()
    outbox = Outbox(stream)
    outbox.progress(Progress("refine", loss={"total": np.float32(0.5)}))
    outbox.post("done")
    assert json.loads(stream.getvalue().splitlines()[0])["loss"] == {"total": 0.5}


def test_serve_works_in_process_with_a_plain_function(job_folder):
    stream, seen = io.StringIO(), []

    def register(fixed, moving, job, report, extras):
        seen.append((fixed, job))
        return result_of(fixed, job)

    def commands():
        yield f"run {job_folder}\n"
        while not seen:
            time.sleep(0.01)
        yield "quit\n"

    serve(commands(), Outbox(stream, leave=lambda code: None), register)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["hello", "started", "done", "bye"]


def test_stop_returns_the_best_so_far_at_the_next_step(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(lambda: any(e.get("step", 0) >= 3 for e in watcher.events))
    watcher.client.stop()
    assert watcher.until(watcher.ended) < 0.5
    assert watcher.finished[0]["stopped"]
    assert 3 < read_result(job_folder).transform.grid.vectors.max() < STEPS


def test_stop_before_the_worker_is_up_is_not_lost(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.client.stop()
    watcher.until(watcher.ended)
    assert watcher.finished[0]["stopped"]
    assert read_result(job_folder).transform.grid.vectors.max() == 0


def test_cancel_between_steps_keeps_the_worker_warm(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    pid = watcher.pid
    watcher.client.cancel()
    assert watcher.until(watcher.ended) < 1.0
    assert watcher.failures[0].kind == "cancelled"
    assert not (job_folder / "result.json").exists()
    assert watcher.client.warm
    watcher.client.start(job_folder)
    watcher.until(lambda: bool(watcher.finished))
    assert watcher.pid == pid


def test_warnings_are_passed_on(watch, job_folder):
    watcher = watch("warner")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    warnings = [e for e in watcher.events if e["event"] == "warning"]
    assert [w["message"] for w in warnings] == ["the volumes hardly overlap"]


def test_a_file_called_stop_stops_as_the_command_does(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    (job_folder / "stop").touch()
    watcher.until(watcher.ended)
    assert watcher.finished[0]["stopped"]


def test_two_runs_at_a_time_are_refused(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    with pytest.raises(ValueError, match="under way"):
        watcher.client.start(job_folder)
