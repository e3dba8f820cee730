"""The worker process from the outside: what a program that uses it sees, faults included."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Job, Progress
from RegRefineLib.worker.exchange import read_result, write_job
from RegRefineLib.worker.outbox import Outbox
from RegRefineLib.worker.serve import serve

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "RegRefine"))
sys.path.insert(0, str(ROOT / "Testing"))

from RegRefineBridge.transports import SubprocessTransport  # noqa: E402
from RegRefineBridge.worker import WorkerClient  # noqa: E402
from worker_behaviours import STEPS, result_of  # noqa: E402

BEHAVIOURS = ROOT / "Testing" / "worker_behaviours.py"
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


class Watcher:
    """A client with everything it has told."""

    def __init__(self, behaviour: str, idle: float = 60.0):
        self.client = WorkerClient(
            SubprocessTransport, arguments=(str(BEHAVIOURS), behaviour), idleSeconds=idle
        )
        self.events: list[dict] = []
        self.finished: list[dict] = []
        self.failures: list = []
        self.client.onEvent = self.events.append
        self.client.onFinished = self.finished.append
        self.client.onFailed = self.failures.append

    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    def until(self, condition, seconds: float = 20.0) -> float:
        """Poll until the condition holds; the seconds it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, (self.events, self.failures)
            self.client.poll()
            time.sleep(0.01)
        return time.monotonic() - began

    def progressing(self) -> bool:
        return any(e["event"] == "progress" for e in self.events)

    def ended(self) -> bool:
        return bool(self.finished or self.failures)

    @property
    def pid(self) -> int:
        return next(e["pid"] for e in self.events if e["event"] == "hello")


@pytest.fixture
def watch():
    watchers = []

    def make(*args, **keywords):
        watchers.append(Watcher(*args, **keywords))
        return watchers[-1]

    yield make
    for watcher in watchers:
        watcher.client.close()


@pytest.fixture
def job_folder(tmp_path):
    geometry = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    array = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    folder = tmp_path / "job with spaces ä"
    write_job(folder, Volume(array, geometry), Volume(array, geometry), Job())
    return folder


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


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


def test_a_stop_that_nobody_hears_becomes_an_abort(watch, job_folder):
    watcher = watch("stubborn")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.stop(patienceSeconds=0.2)
    watcher.until(watcher.ended, 3)
    assert watcher.failures[0].kind == "aborted"


def test_abort_between_steps_keeps_the_worker_warm(watch, job_folder):
    watcher = watch("steps")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    pid = watcher.pid
    watcher.client.abort()
    assert watcher.until(watcher.ended) < 1.0
    assert watcher.failures[0].kind == "aborted"
    assert not (job_folder / "result.json").exists()
    assert watcher.client.warm
    watcher.client.start(job_folder)
    watcher.until(lambda: bool(watcher.finished))
    assert watcher.pid == pid


@pytest.mark.parametrize("behaviour", ["deep", "stubborn"])
def test_abort_ends_a_step_that_never_reports_within_a_second(watch, job_folder, behaviour):
    watcher = watch(behaviour)
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    time.sleep(0.3)  # well inside the operation
    watcher.client.abort()
    took = watcher.until(watcher.ended)
    print(f"abort inside {behaviour}: {took:.2f} s")
    assert took < 1.0
    assert watcher.failures[0].kind == "aborted"
    assert gone_within(watcher.pid, 1.0)


@posix
def test_abort_kills_a_worker_that_stands_still(watch, job_folder):
    watcher = watch("hung")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    time.sleep(0.5)
    watcher.client.abort()
    assert watcher.until(watcher.ended) < 1.0
    assert watcher.failures[0].kind == "aborted"
    assert gone_within(watcher.pid, 1.0)


def test_after_an_abort_the_next_run_gets_a_fresh_worker(watch, job_folder):
    watcher = watch("stubborn")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.abort()
    watcher.until(watcher.ended)
    watcher.events.clear()
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.abort()
    watcher.until(lambda: len(watcher.failures) == 2)


@posix
def test_a_killed_worker_is_reported_with_its_last_words(watch, job_folder):
    watcher = watch("killed")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    failure = watcher.failures[0]
    assert failure.kind == "crash"
    assert "ended unexpectedly (often out of memory)" in failure.message
    assert "the last words of a library" in failure.details
    assert "and of its C part" in failure.details
    assert not watcher.client.warm


def test_a_users_error_is_told_in_its_own_words_and_the_worker_stays(watch, job_folder):
    watcher = watch("user_error")
    for count in (1, 2):
        watcher.client.start(job_folder)
        watcher.until(lambda n=count: len(watcher.failures) == n)
    assert watcher.failures[1].kind == "user"
    assert watcher.failures[1].message.startswith("the volumes do not overlap")
    assert watcher.names().count("hello") == 1


def test_memory_that_does_not_suffice_is_named_with_what_to_do(watch, job_folder):
    watcher = watch("memory")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    assert watcher.failures[0].kind == "memory"
    assert "coarser working spacing" in watcher.failures[0].message


def test_a_fault_of_the_program_ends_the_worker_and_carries_its_traceback(watch, job_folder):
    watcher = watch("fault")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    assert watcher.failures[0].kind == "error"
    assert "nobody foresaw this" in watcher.failures[0].message
    assert "Traceback" in watcher.failures[0].details
    watcher.client.start(job_folder)
    watcher.until(lambda: len(watcher.failures) == 2)
    assert watcher.failures[1].kind == "error"


def test_warnings_are_passed_on(watch, job_folder):
    watcher = watch("warner")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    warnings = [e for e in watcher.events if e["event"] == "warning"]
    assert [w["message"] for w in warnings] == ["the volumes hardly overlap"]


@posix
@pytest.mark.parametrize("behaviour", ["steps", "stubborn"])
def test_a_worker_whose_parent_is_killed_leaves_in_the_middle_of_a_run(job_folder, behaviour):
    parent = subprocess.Popen(
        [sys.executable, str(BEHAVIOURS), "parent", behaviour, str(job_folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline().strip() == "running"
        assert alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert gone_within(pid, 2.0)


def test_a_full_disk_on_the_worker_side_is_told(watch, job_folder):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here, which is as full as a disk can be")
    (job_folder / "transform.npy").symlink_to("/dev/full")
    watcher = watch("warner")
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    assert watcher.failures[0].kind == "user"
    assert "No space left on device" in watcher.failures[0].message
    assert not (job_folder / "result.json").exists()


def test_an_idle_worker_leaves_and_the_next_run_starts_another(watch, job_folder):
    watcher = watch("warner", idle=0.3)
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    watcher.until(lambda: not watcher.client.warm)
    assert watcher.names()[-1] == "bye"
    watcher.client.start(job_folder)
    watcher.until(lambda: len(watcher.finished) == 2)
    assert watcher.names().count("hello") == 2


def test_a_run_sent_to_a_worker_that_is_just_leaving_is_not_lost(watch, job_folder):
    watcher = watch("warner", idle=0.3)
    watcher.client.start(job_folder)
    watcher.until(watcher.ended)
    assert gone_within(watcher.pid, 5.0)  # it left, but the client has not polled since
    watcher.client.start(job_folder)
    watcher.until(lambda: len(watcher.finished) == 2)


def test_a_python_that_is_not_there_is_told(job_folder):
    client = WorkerClient(SubprocessTransport, python="/no/such/python")
    failures = []
    client.onFailed = failures.append
    client.start(job_folder)
    client.poll()
    assert "/no/such/python could not be started" in failures[0].message
    assert "No such file" in failures[0].details


def test_close_in_the_middle_of_a_run_ends_the_process(watch, job_folder):
    watcher = watch("stubborn")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.close()
    assert gone_within(watcher.pid, 1.0)
    assert not watcher.client.running
    assert not watcher.ended()


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


def test_a_missing_job_is_told(watch, tmp_path):
    watcher = watch("warner")
    watcher.client.start(tmp_path / "nothing here")
    watcher.until(watcher.ended)
    assert "incomplete or damaged" in watcher.failures[0].message
