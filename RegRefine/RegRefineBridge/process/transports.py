"""Ways to hold a child process that reads and writes lines: subprocess, or Slicer's QProcess.

Both give the same `Transport`. Its callbacks are called in the thread of the caller: by `poll()`
for subprocess, by Qt's event loop for QProcess.
"""

from __future__ import annotations

import atexit
import os
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol


def ignore(*_: Any) -> None:
    """Take what a callback takes and do nothing with it."""


class Transport(Protocol):
    """A child process with lines in and out; for one life only.

    Attributes:
        onLine: called with each line of its stdout.
        onLog: called with each line of its stderr.
        onEnd: called once, with the exit code, or None where it could not be started.
    """

    onLine: Callable[[str], None]
    onLog: Callable[[str], None]
    onEnd: Callable[[int | None], None]

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start `command` with `environment` on top of this process's own."""

    def send(self, line: str) -> bool:
        """Write a line to its stdin; whether it was taken."""

    def closeInput(self) -> None:
        """Close its stdin."""

    def kill(self) -> None:
        """End it without asking."""

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; whether it has ended."""

    def poll(self) -> None:
        """Let the callbacks be called for what has come since."""


class Lines:
    """Cuts a stream of chunks of bytes into lines of text."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, chunk: bytes) -> list[str]:
        """Return the lines that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]


class SubprocessTransport:
    """The child as a subprocess with two reader threads; needs a `poll()` now and then."""

    def __init__(self) -> None:
        self.onLine: Callable[[str], None] = ignore
        self.onLog: Callable[[str], None] = ignore
        self.onEnd: Callable[[int | None], None] = ignore
        self._process: subprocess.Popen[bytes] | None = None
        self._queue: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._readers: list[threading.Thread] = []
        self._endSeen: float | None = None
        self._ended = False

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start `command` with `environment` on top of this process's own."""
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environment}
            )
        except OSError as error:
            self._queue.put(("log", str(error).encode()))
            return
        for name, stream in (("line", self._process.stdout), ("log", self._process.stderr)):
            reader = threading.Thread(target=self._read, args=(name, stream), daemon=True)
            reader.start()
            self._readers.append(reader)

    def send(self, line: str) -> bool:
        """Write a line to its stdin; whether it was taken."""
        if self._process is None or self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # it has gone, or its stdin is closed
            return False
        return True

    def closeInput(self) -> None:
        """Close its stdin."""
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:  # it went without reading what was written last
                return

    def kill(self) -> None:
        """End it without asking."""
        if self._process is not None:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def poll(self) -> None:
        """Call the callbacks for what has come since, and onEnd after the last line."""
        while True:
            try:
                name, line = self._queue.get_nowait()
            except queue.Empty:
                break
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            (self.onLine if name == "line" else self.onLog)(text)
        if not self._ended and self._hasEnded():
            self._ended = True
            self.onEnd(None if self._process is None else self._process.returncode)

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            self._queue.put((name, line))

    def _hasEnded(self) -> bool:
        """Whether it is gone and its last lines are read (or half a second has passed since)."""
        if self._process is not None and self._process.poll() is None:
            return False
        now = time.monotonic()
        self._endSeen = self._endSeen or now
        reading = any(reader.is_alive() for reader in self._readers)
        return self._queue.empty() and (not reading or now - self._endSeen > 0.5)


# what Python's Qt raises where Qt has destroyed the object already, as at the program's end
_DESTROYED = (RuntimeError, ValueError)
# those whose child runs: a QProcess that is dropped earlier kills its child and waits for it
_running: set[QProcessTransport] = set()


def _endRunning() -> None:
    """End the children while there is a Qt to do it: it destroys their QProcesses next."""
    for transport in tuple(_running):
        transport.onLine = transport.onLog = transport.onEnd = ignore
        with suppress(*_DESTROYED):
            transport.kill()
            transport.wait(1.0)
    _running.clear()


class QProcessTransport:
    """The child as a QProcess of Slicer's `qt` (PythonQt): signals instead of threads."""

    def __init__(self, qt: Any) -> None:
        self.onLine: Callable[[str], None] = ignore
        self.onLog: Callable[[str], None] = ignore
        self.onEnd: Callable[[int | None], None] = ignore
        self._qt = qt
        self._process: Any = None
        self._out, self._err = Lines(), Lines()
        self._waiting: deque[str] = deque()
        self._ended = False

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Start `command` with `environment` on top of this process's own."""
        process = self._process = self._qt.QProcess()
        settings = self._qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            settings.insert(name, value)
        process.setProcessEnvironment(settings)
        self._connections = (
            ("readyReadStandardOutput()", self._onOutput),
            ("readyReadStandardError()", self._onError),
            ("finished(int,QProcess::ExitStatus)", self._onFinished),
            ("errorOccurred(QProcess::ProcessError)", self._onErrorOccurred),
        )
        for signal, slot in self._connections:
            if process.connect(signal, slot) is False:  # PythonQt returns False, it does not raise
                raise RuntimeError(f"QProcess has no signal {signal}")
        if not _running:
            atexit.unregister(_endRunning)
            atexit.register(_endRunning)
        _running.add(self)
        process.start(command[0], command[1:])

    def send(self, line: str) -> bool:
        """Write a line to its stdin; whether it was taken."""
        if self._process is None or self._ended:
            return False
        return self._process.write(line.encode("ascii") + b"\n") >= 0

    def closeInput(self) -> None:
        """Close its stdin."""
        if self._process is not None and not self._ended:
            self._process.closeWriteChannel()

    def kill(self) -> None:
        """End it without asking."""
        if self._process is not None and not self._ended:
            self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; whether it has ended."""
        if self._process is not None and not self._ended:
            self._process.waitForFinished(int(seconds * 1000))
        return self._ended or self._process is None or self._process.state() == 0

    def poll(self) -> None:
        """Hand over lines that a callback's error held up; Qt's event loop calls the callbacks."""
        while self._waiting:
            self.onLine(self._waiting.popleft())

    def _onOutput(self) -> None:
        chunk = b""
        with suppress(*_DESTROYED):
            chunk = self._process.readAllStandardOutput().data()
        self._waiting.extend(self._out.add(chunk))
        self.poll()

    def _onError(self) -> None:
        chunk = b""
        with suppress(*_DESTROYED):
            chunk = self._process.readAllStandardError().data()
        for line in self._err.add(chunk):
            self.onLog(line)

    def _onFinished(self, exitCode: int, _exitStatus: int) -> None:
        try:
            self._onOutput()
            self._onError()
        finally:
            self._end(exitCode)

    def _onErrorOccurred(self, error: int) -> None:
        if error == 0:  # QProcess::FailedToStart, after which finished is not emitted
            self.onLog(str(self._process.errorString()))
            self._end(None)

    def _end(self, exitCode: int | None) -> None:
        _running.discard(self)
        if not self._ended:
            self._ended = True
            self.onEnd(exitCode)
