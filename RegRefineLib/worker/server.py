"""The worker process: runs jobs one after the other and reports on them, in JSON lines.

It reads commands from stdin, one a line:

    run FOLDER   do the job in FOLDER (worker/job_folder.py); FOLDER may be a JSON string
    stop         end the run at its next step and keep the best field so far
    cancel       drop the run, within a second (`abort`, the word of earlier versions, likewise)
    quit         leave

and writes events to stdout, one line of ASCII JSON each, every one with `event` and `time` (s):

    hello     protocol, pid, python           the first line
    ready     seconds                         torch is loaded; the next run starts at once; until
                                              then the loops are compiled (warming.py)
    started   folder                          a run begins
    progress  stage, step, steps, loss, metrics, elapsed_s, eta_s, message   at most 10 a second;
              stage `download` counts megabytes of a model, `message` is its name
    warning   like progress, with a message that a user must see
    done      folder, stopped, seconds        result.json is in the folder
    error     kind (user, memory, error), message, details
    cancelled warm                            the run was dropped; warm: the worker stays
    bye       reason (quit, idle)             the last line

Whatever else is printed goes to stderr. The process stays warm between runs. It leaves on `quit`,
after an idle time, or when stdin ends, which is how it learns that the program behind it is gone,
even in the middle of a run. A file called `stop` or `cancel` in the job folder does what the
command does, for callers without a pipe.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import threads
from ..errors import Cancelled, RegRefineError, Stopped
from ..job import PROTOCOL, Progress, Result
from .event_stream import PERIOD_S, Outbox
from .job_folder import read_job, write_result
from .scene_result import prepared

GRACE_S = 0.4
IDLE_S = 600.0
PAUSE_S = 0.2  # a job that was sent with the start is there by then
CANCEL_WORDS = ("cancel", "abort")
Register = Callable[..., Result]


class Control:
    """What the commands say, shared by the thread that reads them and the one that computes."""

    def __init__(self, outbox: Outbox):
        self.outbox = outbox
        self.jobs: queue.Queue[Path | None] = queue.Queue()
        self.stop = threading.Event()
        self.cancel = threading.Event()
        self.left = threading.Event()
        self.idle = threading.Event()
        self.idle.set()

    def watch(self, commands: Iterable[str]) -> None:
        """Obey the commands until they end; then leave, whatever the other thread is doing."""
        for line in commands:
            word, _, rest = line.strip().partition(" ")
            if word == "run":
                self._accept(Path(json.loads(rest) if rest.startswith('"') else rest))
            elif word == "stop":
                self.stop.set()
            elif word in CANCEL_WORDS:
                self.drop_run()
            elif word == "quit":
                break
        self.jobs.put(None)
        if not self.left.wait(0.1):
            self.outbox.leave(0)

    def _accept(self, folder: Path) -> None:
        """Queue a job; from here on stop and cancel mean this one, though it may not run yet."""
        self.stop.clear()
        self.cancel.clear()
        self.idle.clear()
        self.jobs.put(folder)

    def drop_run(self) -> None:
        """End the run at its next report, or the process where none comes in time."""
        if self.idle.is_set():
            return
        self.cancel.set()
        if not self.idle.wait(GRACE_S):
            self.outbox.post("cancelled", warm=False)
            self.outbox.leave(0)


class Reporter:
    """The report callback of one run: passes progress on, raises what was asked for."""

    def __init__(self, control: Control, folder: Path):
        self._control = control
        self._folder = folder
        self._stopped_in: set[str] = set()
        self._looked = 0.0

    def __call__(self, progress: Progress) -> None:
        """Report; raise Cancelled on cancel, and Stopped once a stage on stop."""
        self._control.outbox.progress(progress)
        self._look_for_files()
        if self._control.cancel.is_set():
            raise Cancelled
        if self._control.stop.is_set() and progress.stage not in ("finish", *self._stopped_in):
            self._stopped_in.add(progress.stage)
            raise Stopped

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop."""
        return bool(self._stopped_in)

    def _look_for_files(self) -> None:
        now = time.monotonic()
        if now - self._looked < PERIOD_S:
            return
        self._looked = now
        if (self._folder / "stop").exists():
            self._control.stop.set()
        if any((self._folder / word).exists() for word in CANCEL_WORDS):
            self._control.cancel.set()


def serve(
    commands: Iterable[str],
    outbox: Outbox,
    register: Register | None = None,
    *,
    idle_s: float = IDLE_S,
) -> None:
    """Do jobs until `quit` comes, or nothing for `idle_s` seconds.

    Args:
        commands: the lines of stdin; their end means that the parent is gone.
        register: takes (fixed, moving, job, report, extras); None: RegRefineLib.register's.

    An unforeseen error goes through to the caller: `main` reports it to the parent and leaves, so
    that the next run has a fresh process.
    """
    outbox.post("hello", protocol=PROTOCOL, pid=os.getpid(), python=sys.version.split()[0])
    control = Control(outbox)
    threading.Thread(target=control.watch, args=(commands,), daemon=True).start()
    if register is None:
        began = time.monotonic()
        register = _real_register(outbox)
        outbox.post("ready", seconds=round(time.monotonic() - began, 3))
        _use_the_pause(control)
    while True:
        try:
            folder, reason = control.jobs.get(timeout=idle_s), "quit"
        except queue.Empty:
            folder, reason = None, "idle"
        if folder is None:
            break
        _run(folder, control, register)
        _release_memory()
    outbox.post("bye", reason=reason)
    control.left.set()


def _use_the_pause(control: Control) -> None:
    """Compile the loops where no job comes at once; given up as soon as one does."""
    until = time.monotonic() + PAUSE_S
    while time.monotonic() < until:
        if not control.jobs.empty():
            return
        time.sleep(0.01)
    with suppress(ImportError):  # packages are missing: the job says which
        from .warming import compile_loops

        compile_loops(lambda: not control.jobs.empty())
        _release_memory()


def _run(folder: Path, control: Control, register: Register) -> None:
    outbox = control.outbox
    began = time.monotonic()
    outbox.post("started", folder=str(folder))
    report = Reporter(control, folder)
    last: tuple[str, dict[str, Any]]
    try:
        fixed, moving, job, extras, handling = read_job(folder)
        for name in handling.fetch:
            _fetch(name, report)
        result = register(fixed, moving, job, report, extras)
        write_result(folder, prepared(result, handling.moving_to_world, handling.lengths))
        last = ("done", {"folder": str(folder), "stopped": report.stopped})
    except Cancelled:
        last = ("cancelled", {"warm": True})
    except Stopped:
        last = ("error", _failure("user", "stopped before there was a field to keep"))
    except RegRefineError as error:
        last = ("error", _failure("user", str(error)))
    except (MemoryError, RuntimeError) as error:  # torch's own are RuntimeErrors
        last = ("error", _explained(error))
    outbox.post(last[0], **last[1], seconds=round(time.monotonic() - began, 3))
    control.idle.set()


def _fetch(name: str, report: Callable[[Progress], None]) -> None:
    """Download a model that the user has agreed to, where it is not here; steps are megabytes."""
    from ..weights.store import fetch

    def count(done: int, whole: int) -> None:
        report(Progress("download", done >> 20, max(whole, done) >> 20, message=name))

    fetch(name, lambda question: True, count)


def _failure(kind: str, message: str, details: str = "") -> dict[str, str]:
    return {"kind": kind, "message": message, "details": details}


def _explained(error: BaseException) -> dict[str, str]:
    details = "".join(traceback.format_exception(error))
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "memory" in words.lower():
        advice = "choose a coarser working spacing, another preset, or the CPU as the device"
        return _failure("memory", f"the memory did not suffice ({words}); {advice}", details)
    return _failure("error", words, details)


def _release_memory() -> None:
    """Give what the run held back to the machine; networks that are kept stay."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _real_register(outbox: Outbox) -> Register:
    try:
        from ..memory import keep_freed_memory
        from ..registration import register
    except ImportError as error:
        missing = RegRefineError(f"a package is missing: {error}")
        outbox.post("warning", stage="prepare", message=str(missing))
        return partial(_refuse, missing)
    keep_freed_memory()
    threads.use()
    return register


def _refuse(reason: RegRefineError, *_: Any) -> Result:
    raise reason


def main(arguments: list[str] | None = None, register: Register | None = None) -> int:
    """Serve on stdin and stdout, and end the process; the sub-command `regrefine worker`."""
    parser = argparse.ArgumentParser("regrefine worker", description="run the jobs named on stdin")
    parser.add_argument(
        "--idle", type=float, default=IDLE_S, help="seconds without a job to leave after"
    )
    options = parser.parse_args(arguments)
    threads.prepare()
    events = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever libraries print must not come between the events
    outbox = Outbox(events)
    sys.excepthook = _last_words(outbox)
    serve(sys.stdin, outbox, register, idle_s=options.idle)
    os._exit(0)  # not by the ordinary way, which waits for the thread that reads stdin


def _last_words(outbox: Outbox) -> Callable[..., None]:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        outbox.post("error", **_explained(error))
        sys.__excepthook__(kind, error, trace)
        outbox.leave(1)

    return hook
