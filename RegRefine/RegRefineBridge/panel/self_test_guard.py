"""What makes a self test fail though nothing was raised: printed errors, and a window that froze.

Slicer prints what a slot throws and goes on, and VTK writes its errors into a window of its own. A
test that only looks at its own assertions passes all the same. `Printed` collects both.
"""

from __future__ import annotations

import sys
import time
import traceback
from types import TracebackType
from typing import Any

import vtk


class _Echo:
    """A stream that also remembers what is written to it."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        """Write, and remember."""
        self.text += text
        self.stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Printed:
    """Collects, from start() to stop(), what is thrown in slots, VTK's errors and sys.stderr."""

    def __init__(self) -> None:
        self._thrown: list[str] = []
        self._former: tuple[Any, ...] = ()

    def start(self) -> None:
        """Begin to collect; what was installed before is put back by stop()."""
        self._thrown.clear()
        self._former = (sys.excepthook, sys.stderr, vtk.vtkOutputWindow.GetInstance())
        self._window = vtk.vtkStringOutputWindow()
        self._echo = _Echo(sys.stderr)
        sys.excepthook, sys.stderr = self._take, self._echo
        vtk.vtkOutputWindow.SetInstance(self._window)

    def stop(self) -> str:
        """Return everything that was collected, "" for nothing."""
        sys.excepthook, sys.stderr, window = self._former
        vtk.vtkOutputWindow.SetInstance(window)
        lines = [*self._thrown, self._window.GetOutput(), self._echo.text]
        return "\n".join(line.strip() for line in lines if line and line.strip())

    def _take(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self._thrown.append("".join(traceback.format_exception(kind, error, trace)))


class LongestGap:
    """The longest time between two calls of a timer: for so long the window was frozen.

    Args:
        timer: a QTimer that has not been started.
    """

    INTERVAL_MS = 50

    def __init__(self, timer: Any) -> None:
        self.seconds = 0.0
        self._last = time.monotonic()
        self._timer = timer
        timer.setInterval(self.INTERVAL_MS)
        timer.connect("timeout()", self._tick)

    def start(self) -> None:
        """Begin to measure."""
        self.seconds, self._last = 0.0, time.monotonic()
        self._timer.start()

    def stop(self) -> float:
        """Return the longest gap in seconds."""
        self._tick()
        self._timer.stop()
        return self.seconds

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds = max(self.seconds, now - self._last)
        self._last = now
