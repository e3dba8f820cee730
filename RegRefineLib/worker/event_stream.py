"""Events as lines of JSON on a stream: at most eight progress events a second, the rest at once."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..job import Progress

PERIOD_S = 0.125


class Outbox:
    """Writes events as lines; of many progress events only the latest, every PERIOD_S seconds.

    Attributes:
        leave: ends the process at once, from any thread.
    """

    def __init__(self, stream: TextIO, leave: Callable[[int], Any] = os._exit):
        self._stream = stream
        self.leave = leave
        self._lock = threading.Lock()
        self._pending: dict[str, Any] | None = None
        self._wake = threading.Event()
        threading.Thread(target=self._drip, daemon=True).start()

    def post(self, event: str, **values: Any) -> None:
        """Write an event now, after the progress that still waits."""
        record = {"event": event, "time": time.time(), **values}
        with self._lock:
            waiting, self._pending = self._pending, None
            for each in (waiting, record):
                if each is not None:
                    self._write(each)

    def progress(self, progress: Progress) -> None:
        """Write the progress when its turn comes, unless a newer one comes first."""
        record = {**progress.to_json(), "time": time.time()}
        if progress.warning:
            self.post(**record)
            return
        with self._lock:
            self._pending = record
        self._wake.set()

    def _drip(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                waiting, self._pending = self._pending, None
                if waiting is not None:
                    self._write(waiting)
            time.sleep(PERIOD_S)

    def _write(self, record: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(record, default=float) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody is listening any more
            self.leave(1)
