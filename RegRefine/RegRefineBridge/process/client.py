"""The client of the worker process: starts runs, follows them, stops them, cleans up.

    client = WorkerClient(SubprocessTransport)                 # tests and scripts
    client = WorkerClient(lambda: QProcessTransport(qt))       # Slicer
    client.onEvent = ...      # every event of the run: a dict (listed in worker/server.py)
    client.onFinished = ...   # the `done` event; the result lies in its folder
    client.onFailed = ...     # a Failure: what happened, in words
    client.start(jobFolder)   # written by RegRefineLib.worker.job_folder.write_job
    client.poll()             # every 0.1 s, from a QTimer or a loop: events and deadlines

Callbacks come in the caller's thread: from poll(), or from Qt's event loop with a QProcess. Every
start() ends in exactly one onFinished or onFailed. The process stays warm afterwards; warmUp()
starts it before it is needed.

stop() ends the run at its next step and keeps the best field so far; where that step has not ended
after a minute it becomes cancel(). The results that follow the last step may take their time.
cancel() drops the run: first by asking, then by closing the worker's stdin, then by killing it;
within a second the run has ended for the caller. close() ends the process, for the application's
exit, a module reload or a closed scene.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import PROTOCOL
from RegRefineLib.limits import THREADS_VARIABLE

from .launch import workerEnvironment, workerPython
from .process_tree import kill_tree
from .transports import Transport, ignore

STOP_PATIENCE_S = 60.0
CLOSE_AFTER_S, KILL_AFTER_S, GIVE_UP_AFTER_S = 0.55, 0.75, 0.9
LOG_LINES = 50


@dataclass(frozen=True)
class Failure:
    """Why a run gave no result.

    Attributes:
        kind: user (something the user can mend; the message says what), memory, error (a fault
            of the program), crash (the process ended without a word), cancelled (as asked).
        message: a sentence.
        details: the last lines of the worker's log, or a traceback.
    """

    kind: str
    message: str
    details: str = ""


class WorkerClient:
    """One worker process at a time, and at most one run on it.

    Args:
        newTransport: makes a Transport for each process.
        python: the interpreter; None: `workerPython()`, looked up when a process is started.
        arguments: what follows it.
        idleSeconds: after so long without a run the worker leaves.
        environment: variables on top of the inherited ones, such as OMP_NUM_THREADS.
    """

    def __init__(
        self,
        newTransport: Callable[[], Transport],
        python: str | None = None,
        arguments: tuple[str, ...] = ("-m", "RegRefineLib.worker"),
        idleSeconds: float = 600.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.onEvent: Callable[[dict[str, Any]], None] = ignore
        self.onFinished: Callable[[dict[str, Any]], None] = ignore
        self.onFailed: Callable[[Failure], None] = ignore
        self.onLog: Callable[[str], None] = ignore
        self._newTransport = newTransport
        self._python = python
        self._arguments = [*arguments, "--idle", str(idleSeconds)]
        self._extraEnvironment = dict(environment or {})
        self._transport: Transport | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._folder: Path | None = None
        self._accepted = False
        self._finishing = False
        self._fresh = True
        self._pid: int | None = None
        self._program = ""
        self._deadlines: list[tuple[float, Callable[[], None]]] = []

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._folder is not None

    @property
    def warm(self) -> bool:
        """Whether there is a process."""
        return self._transport is not None

    @property
    def logText(self) -> str:
        """The last lines of the worker's log."""
        return "\n".join(self._log)

    def useThreads(self, count: int) -> None:
        """Let the runs to come use so many threads, 0 for all; an idle process starts anew."""
        before = self._extraEnvironment.pop(THREADS_VARIABLE, "")
        if count > 0:
            self._extraEnvironment[THREADS_VARIABLE] = str(count)
        if before != self._extraEnvironment.get(THREADS_VARIABLE, "") and not self.running:
            self.close()

    def warmUp(self) -> None:
        """Start the process, so that it loads torch while the user still chooses."""
        if self._transport is not None:
            return
        try:
            self._program = self._python or workerPython()
        except RegRefineError as error:
            self._onLogLine(str(error))
            self._end_with(Failure("user", str(error)))
            return
        transport = self._transport = self._newTransport()
        transport.onLine = lambda line: self._onLine(transport, line)
        transport.onLog = self._onLogLine
        transport.onEnd = lambda code: self._onEnd(transport, code)
        self._log.clear()
        self._pid = None
        self._fresh = True
        command = [self._program, *self._arguments]
        transport.start(command, workerEnvironment() | self._extraEnvironment)

    def start(self, jobFolder: Path) -> None:
        """Start the run whose job lies in `jobFolder`.

        Raises:
            ValueError: a run is under way.
        """
        if self.running:
            raise ValueError("start: a run is under way; stop or cancel it first")
        self._folder = Path(jobFolder)
        self._submit()

    def stop(self, patienceSeconds: float = STOP_PATIENCE_S) -> None:
        """Ask the run to end at its next step with the best field so far."""
        if self.running:
            self._send("stop")
            if not self._finishing:
                self._after(patienceSeconds, self.cancel)

    def cancel(self) -> None:
        """Drop the run; it ends in onFailed (kind cancelled) within a second of polls."""
        if not self.running or self._transport is None:
            return
        self._send("cancel")
        self._deadlines.clear()
        self._after(CLOSE_AFTER_S, self._transport.closeInput)
        self._after(KILL_AFTER_S, self._kill)
        self._after(GIVE_UP_AFTER_S, self._abandon)

    def close(self, seconds: float = 1.0) -> None:
        """End the process, and with it a run; without callbacks, waiting at most `seconds`."""
        self._folder = None
        self._deadlines.clear()
        transport = self._detach()
        if transport is None:
            return
        transport.send("quit")
        transport.closeInput()
        if not transport.wait(seconds):
            self._kill(transport)

    def poll(self) -> None:
        """Take what has come from the worker, and see to deadlines that have passed."""
        if self._transport is not None:
            self._transport.poll()
        now = time.monotonic()
        due = [action for moment, action in self._deadlines if moment <= now]
        self._deadlines = [each for each in self._deadlines if each[0] > now]
        for action in due:
            action()

    def _submit(self) -> None:
        self._accepted = self._finishing = False
        self.warmUp()
        self._send("run " + json.dumps(str(self._folder)))

    def _send(self, line: str) -> None:
        taken = self._transport is not None and self._transport.send(line)
        if not taken and line in ("stop", "cancel") and self._folder is not None:
            try:
                (self._folder / line).touch()  # the worker looks for such files as well
            except OSError as error:
                self._onLogLine(f"{line} did not reach the worker: {error}")

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._deadlines.append((time.monotonic() + seconds, action))

    def _onLine(self, transport: Transport, line: str) -> None:
        if transport is not self._transport:
            return
        try:
            event = json.loads(line)
            name = event["event"]
        except (ValueError, TypeError, KeyError):  # not one of ours: a library's own words
            self._onLogLine(line)
            return
        if name == "hello":
            self._pid = event["pid"]
            if event["protocol"] != PROTOCOL:
                self._end_with(Failure("user", "the worker is of another version of RegRefine"))
                self.close()
                return
        self._accepted = self._accepted or name == "started"
        if name == "progress" and event.get("stage") == "finish" and not self._finishing:
            self._finishing = True  # the steps are over: a stop took effect
            self._deadlines = [each for each in self._deadlines if each[1] != self.cancel]
        if name == "done" and self.running:
            self._finish()
            self.onFinished(event)
        elif name == "error" and self.running:
            self._end_with(Failure(event["kind"], event["message"], event["details"]))
        elif name == "cancelled" and self.running:
            self._end_with(Failure("cancelled", "the run was dropped"))
            if not event["warm"]:
                self._detach()
        else:
            self.onEvent(event)

    def _onLogLine(self, line: str) -> None:
        self._log.append(line)
        self.onLog(line)

    def _onEnd(self, transport: Transport, code: int | None) -> None:
        if transport is not self._transport:
            return
        self._transport = None
        cancelling = any(action == self._abandon for _, action in self._deadlines)
        if not self.running:
            return
        if cancelling:
            self._end_with(Failure("cancelled", "the run was dropped"))
        elif not self._accepted and not self._fresh:
            self._submit()  # it was leaving (idle) while the run was sent
        else:
            self._end_with(self._unexpected(code))

    def _unexpected(self, code: int | None) -> Failure:
        if code is None:
            return Failure("crash", f"{self._program} could not be started", self.logText)
        words = "the worker ended unexpectedly (often out of memory)"
        return Failure("crash", words, self.logText)

    def _finish(self) -> None:
        self._folder = None
        self._fresh = False
        self._deadlines.clear()

    def _end_with(self, failure: Failure) -> None:
        if self.running:
            self._finish()
            self.onFailed(failure)

    def _abandon(self) -> None:
        """Take the run for ended, though the process has not said so."""
        self._detach()
        self._end_with(Failure("cancelled", "the run was dropped"))

    def _detach(self) -> Transport | None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.onLine = transport.onLog = transport.onEnd = ignore
        return transport

    def _kill(self, transport: Transport | None = None) -> None:
        """Kill the worker and its children by their own numbers: PythonSlicer only launches it."""
        transport = transport or self._transport
        if transport is None:
            return
        if self._pid is not None and not kill_tree(self._pid):
            self._onLogLine(f"the worker {self._pid} could not be killed")
        transport.kill()
