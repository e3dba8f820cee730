"""What a worker does while it waits for its first job: a small run, so that the loops are compiled.

The loops are compiled for the types of their arrays at the first call. A run of the default preset
compiles what most jobs need; on a machine where all is compiled it takes about two seconds.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from ..errors import Cancelled, RegRefineError
from ..geometry import Geometry, Volume
from ..job import Extras, Job, Progress
from ..kernels.door import available
from ..memory import device
from ..registration import register

_EDGE = 24


def compile_loops(wanted: Callable[[], bool]) -> None:
    """Register a ball to itself, until `wanted` says that the process has better things to do.

    In the thread that runs the jobs, since a run sets torch's seed and precision. A job that comes
    meanwhile waits for the loop being compiled, which it is likely to need itself. Nothing is done
    where the jobs will run on a GPU or without compiled loops. A failure is only logged: the first
    job will meet it too, and say it to the user.
    """

    def report(_: Progress) -> None:
        if wanted():
            raise Cancelled

    if not available() or device("auto") != "cpu":
        return
    grid = Geometry((_EDGE, _EDGE, _EDGE), np.eye(4))
    axis = np.linspace(-1, 1, _EDGE, dtype=np.float32)
    square = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    ball = Volume(np.exp(-4 * square).astype(np.float32), grid)
    labels = Volume((square < 0.3).astype(np.uint8), grid)
    try:
        with suppress(Cancelled):
            extras = Extras(fixed_labels=labels, moving_labels=labels)
            register(ball, ball, Job(preset="default", device="cpu"), report, extras)
    except (RegRefineError, RuntimeError, MemoryError, OSError):
        traceback.print_exc()
