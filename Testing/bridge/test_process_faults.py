"""What can go wrong round a worker: each fault ends soon, in words, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport
from support.paths import python_path
from support.worker_watch import BEHAVIOURS, alive, gone_within, small_job, watchers

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture
def watch():
    yield from watchers()


@pytest.fixture
def job_folder(tmp_path):
    return small_job(tmp_path)


def test_a_stop_that_nobody_hears_becomes_a_cancel(watch, job_folder):
    watcher = watch("stubborn")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.stop(patienceSeconds=0.2)
    watcher.until(watcher.ended, 3)
    assert watcher.failures[0].kind == "cancelled"


def test_a_stop_that_was_heard_waits_for_the_results_however_long_they_take(watch, job_folder):
    watcher = watch("thorough")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.stop(patienceSeconds=0.6)
    watcher.until(watcher.ended, 5)
    assert not watcher.failures
    assert watcher.finished[0]["stopped"]


@pytest.mark.parametrize("behaviour", ["deep", "stubborn"])
def test_cancel_ends_a_step_that_never_reports_within_a_second(watch, job_folder, behaviour):
    watcher = watch(behaviour)
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    time.sleep(0.3)  # well inside the operation
    watcher.client.cancel()
    took = watcher.until(watcher.ended)
    print(f"cancel inside {behaviour}: {took:.2f} s")
    assert took < 1.0
    assert watcher.failures[0].kind == "cancelled"
    assert gone_within(watcher.pid, 1.0)


@posix
def test_cancel_kills_a_worker_that_stands_still(watch, job_folder):
    watcher = watch("hung")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    time.sleep(0.5)
    watcher.client.cancel()
    assert watcher.until(watcher.ended) < 1.0
    assert watcher.failures[0].kind == "cancelled"
    assert gone_within(watcher.pid, 1.0)


def test_after_a_cancel_the_next_run_gets_a_fresh_worker(watch, job_folder):
    watcher = watch("stubborn")
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.cancel()
    watcher.until(watcher.ended)
    watcher.events.clear()
    watcher.client.start(job_folder)
    watcher.until(watcher.progressing)
    watcher.client.cancel()
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


@posix
@pytest.mark.parametrize("behaviour", ["steps", "stubborn"])
def test_a_worker_whose_parent_is_killed_leaves_in_the_middle_of_a_run(job_folder, behaviour):
    parent = subprocess.Popen(
        [sys.executable, str(BEHAVIOURS), "parent", behaviour, str(job_folder)],
        env=python_path(),
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


def test_a_missing_job_is_told(watch, tmp_path):
    watcher = watch("warner")
    watcher.client.start(tmp_path / "nothing here")
    watcher.until(watcher.ended)
    assert "incomplete or damaged" in watcher.failures[0].message
