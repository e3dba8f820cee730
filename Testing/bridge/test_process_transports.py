"""The QProcess transport against a stand-in that behaves as PythonQt's QProcess does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import Lines, QProcessTransport
from support.paths import ROOT

SIGNALS = {
    "readyReadStandardOutput()",
    "readyReadStandardError()",
    "finished(int,QProcess::ExitStatus)",
    "errorOccurred(QProcess::ProcessError)",
}


class FakeByteArray:
    """PythonQt's QByteArray: no bytes, but with data()."""

    def __init__(self, content: bytes):
        self._content = content

    def data(self) -> bytes:
        return self._content


class FakeProcess:
    def __init__(self):
        self.slots, self.written, self.output, self.errors = {}, b"", b"", b""
        self.open, self.killed = True, False

    def connect(self, signal, slot):
        if signal not in SIGNALS:
            return False  # PythonQt prints, and does not raise
        self.slots[signal] = slot
        return True

    def setProcessEnvironment(self, environment):
        self.environment = environment

    def start(self, program, arguments):
        assert type(program) is str
        assert type(arguments) is list
        assert all(type(argument) is str for argument in arguments)
        self.command = [program, *arguments]

    def write(self, content):
        assert type(content) is bytes
        self.written += content
        return len(content) if self.open else -1

    def closeWriteChannel(self):
        self.open = False

    def kill(self):
        self.killed = True

    def waitForFinished(self, milliseconds):
        assert type(milliseconds) is int
        return False

    def state(self):
        return 2

    def readAllStandardOutput(self):
        chunk, self.output = self.output, b""
        return FakeByteArray(chunk)

    def readAllStandardError(self):
        chunk, self.errors = self.errors, b""
        return FakeByteArray(chunk)

    def errorString(self):
        return "No such file"

    def say(self, chunk: bytes):
        self.output += chunk
        self.slots["readyReadStandardOutput()"]()

    def end(self, code):
        self.slots["finished(int,QProcess::ExitStatus)"](code, 0)


class FakeQt:
    """The module `qt` of Slicer."""

    def __init__(self):
        self.processes = []

    def QProcess(self):
        self.processes.append(FakeProcess())
        return self.processes[-1]

    class QProcessEnvironment:
        @staticmethod
        def systemEnvironment():
            class Environment(dict):
                def insert(self, name, value):
                    assert type(name) is str
                    assert type(value) is str
                    self[name] = value

            return Environment(HOME="/home")


@pytest.fixture
def qt():
    return FakeQt()


@pytest.fixture
def client(qt):
    made = WorkerClient(lambda: QProcessTransport(qt), python="PythonSlicer")
    made.events, made.finished, made.failures = [], [], []
    made.onEvent = made.events.append
    made.onFinished = made.finished.append
    made.onFailed = made.failures.append
    return made


def test_chunks_are_cut_into_lines_wherever_they_break():
    lines = Lines()
    assert lines.add("a\nü".encode()[:3]) == ["a"]
    assert lines.add("ü".encode()[1:] + b"b\r\n") == ["üb"]
    assert lines.add(b"\n\nrest") == ["", ""]


def test_a_whole_run_by_signals(qt, client):
    client.start(Path("/tmp/some job"))
    process = qt.processes[0]
    assert process.command[:3] == ["PythonSlicer", "-m", "RegRefineLib.worker"]
    assert process.environment["HOME"] == "/home"
    assert process.environment["PYTHONUNBUFFERED"] == "1"
    assert process.written == b'run "/tmp/some job"\n'
    process.say(b'{"event": "hello", "protocol": 1, "pid": null, "time": 0}\n{"event": "st')
    process.say(b'arted", "time": 1}\n{"event": "progress", "step": 3}\n')
    assert [event["event"] for event in client.events] == ["hello", "started", "progress"]
    client.stop()
    assert process.written.endswith(b"stop\n")
    process.say(b'{"event": "done", "folder": "/tmp/some job", "stopped": true}\n')
    assert client.finished[0]["stopped"]
    assert client.warm
    assert not client.running


def test_the_last_lines_are_read_before_the_end_is_told(qt, client):
    client.start(Path("/tmp/job"))
    process = qt.processes[0]
    process.say(b'{"event": "hello", "protocol": 1, "pid": null}\n{"event": "started"}\n')
    process.errors = b"cuda: bad\n"
    process.end(1)
    assert client.failures[0].kind == "crash"
    assert client.failures[0].details == "cuda: bad"
    assert not client.warm


def test_a_program_that_cannot_be_started_is_told(qt, client):
    client.start(Path("/tmp/job"))
    qt.processes[0].slots["errorOccurred(QProcess::ProcessError)"](0)
    assert client.failures[0].kind == "crash"
    assert "could not be started" in client.failures[0].message
    assert client.failures[0].details == "No such file"


def test_a_crash_is_told_once_though_qt_tells_it_twice(qt, client):
    client.start(Path("/tmp/job"))
    process = qt.processes[0]
    process.slots["errorOccurred(QProcess::ProcessError)"](1)  # Crashed; finished follows
    process.end(11)
    assert len(client.failures) == 1


def test_a_signal_that_qt_does_not_know_is_an_error_at_once(qt, monkeypatch):
    monkeypatch.setattr(FakeProcess, "connect", lambda *_: False)
    with pytest.raises(RuntimeError, match="has no signal"):
        QProcessTransport(qt).start(["python"], {})


def test_close_asks_then_closes_then_kills(qt, client):
    client.start(Path("/tmp/job"))
    process = qt.processes[0]
    client.close(0.01)
    assert process.written.endswith(b"quit\n")
    assert not process.open
    assert process.killed


LEAVES = """
import sys
from support import pythonqt
from PySide6 import QtCore
from RegRefineBridge.process.transports import QProcessTransport

application = QtCore.QCoreApplication([])
transport = QProcessTransport(pythonqt.Namespace("qt"))
lines = []
transport.onLine = lines.append
transport.start([sys.executable, "-c", "print(1, flush=True); input()"], {})
while not lines:
    application.processEvents()
    transport.poll()
if "drop" in sys.argv:
    del transport
"""


@pytest.mark.parametrize("how", ["keep", "drop"])
def test_a_program_leaves_without_a_word_while_its_worker_runs(how):
    """With a real QProcess: Qt destroys it at the end of the program, after Python's own end."""
    pytest.importorskip("PySide6")
    path = os.pathsep.join(str(ROOT / each) for each in (".", "RegRefine", "Testing"))
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_a_process_that_qt_has_destroyed_is_told(qt, client, monkeypatch):
    client.start(Path("/tmp/job"))
    process = qt.processes[0]

    def destroyed():
        raise RuntimeError("Internal C++ object already deleted")

    monkeypatch.setattr(process, "readAllStandardOutput", destroyed)
    monkeypatch.setattr(process, "readAllStandardError", destroyed)
    process.end(1)
    assert [failure.kind for failure in client.failures] == ["crash"]


def test_another_protocol_is_refused(qt, client):
    client.start(Path("/tmp/job"))
    qt.processes[0].say(b'{"event": "hello", "protocol": 99, "pid": null}\n')
    assert "another version" in client.failures[0].message
    assert not client.warm
