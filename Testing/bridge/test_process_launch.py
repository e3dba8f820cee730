"""How the worker is launched and ended: the interpreter, words of earlier versions, children."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from RegRefineBridge.process import process_tree
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.launch import workerPython
from RegRefineBridge.process.transports import SubprocessTransport
from support.paths import python_path
from support.worker_watch import gone_within, small_job, watchers

from RegRefineLib.errors import RegRefineError

# imports the module's half as Slicer does, with an empty sys.executable that is set later
IMPORT = """
import sys
real, sys.executable = sys.executable, ""
from pathlib import Path
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport
import RegRefineBridge.workflow.presenter
client = WorkerClient(SubprocessTransport)
sys.executable = real
ready, log = [], []
client.onEvent = lambda event: ready.append(event["event"])
client.onLog = log.append
client.warmUp()
import time
end = time.monotonic() + 60
while "hello" not in ready and time.monotonic() < end:
    client.poll()
    time.sleep(0.02)
print(ready[:1], log)
client.close()
"""


@pytest.fixture
def watch():
    yield from watchers()


def program(folder, name="PythonSlicer"):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_module_imported_without_an_interpreter_still_starts_a_worker():
    environment = python_path()
    environment["PYTHONPATH"] = os.pathsep.join(
        [*environment["PYTHONPATH"].split(os.pathsep), "RegRefine"]
    )
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['hello'] []", done.stderr


def test_python_slicer_comes_before_the_interpreter_that_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert workerPython() == sys.executable
    path = program(tmp_path)
    assert workerPython() == str(path)


def test_no_interpreter_at_all_ends_the_run_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RegRefineError, match="no Python interpreter"):
        workerPython()
    client, failures = WorkerClient(SubprocessTransport), []
    client.onFailed = failures.append
    client.warmUp()
    assert not failures  # nothing was asked for yet
    client.start(tmp_path)
    assert "no Python interpreter" in failures[0].message
    assert not client.running


@pytest.mark.parametrize("word", ["cancel", "abort"])
def test_a_run_is_cancelled_by_word_or_file_and_by_the_word_of_earlier_versions(
    watch, tmp_path, word
):
    folder = small_job(tmp_path)
    watcher = watch("steps")
    for give in (lambda: watcher.client._send(word), lambda: (folder / word).touch()):
        watcher.failures.clear()
        watcher.events.clear()
        watcher.client.start(folder)
        watcher.until(watcher.progressing)
        give()
        watcher.until(lambda: watcher.failures)
        assert watcher.failures[0].kind == "cancelled"
        (folder / word).unlink(missing_ok=True)


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_killing_a_worker_ends_its_children(tmp_path):
    pytest.importorskip("psutil")
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert process_tree.kill_tree(parent.pid)
    parent.wait(5)
    parent.stdout.close()
    assert gone_within(child, 2.0)
    assert process_tree.kill_tree(parent.pid)  # it has gone already


def test_without_psutil_the_worker_itself_is_killed(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert process_tree.kill_tree(process.pid)
    assert process.wait(5) != 0
