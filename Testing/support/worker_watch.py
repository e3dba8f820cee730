"""A worker's client that remembers all it was told, and small jobs for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import SubprocessTransport

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Job
from RegRefineLib.worker.job_folder import write_job
from support.paths import SUPPORT

BEHAVIOURS = SUPPORT / "worker_behaviours.py"


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


def watchers() -> Iterator:
    """Give a maker of watchers, and close what it made."""
    made = []

    def make(*args, **keywords):
        made.append(Watcher(*args, **keywords))
        return made[-1]

    yield make
    for watcher in made:
        watcher.client.close()


def small_job(root: Path) -> Path:
    """Write a job of 120 voxels and return its folder."""
    geometry = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    array = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    folder = root / "job with spaces ä"
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
