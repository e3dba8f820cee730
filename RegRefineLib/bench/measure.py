"""Run a command and write its seconds and peak memory: a script that starts small.

    python -I -S measure.py FIGURES.json LIMIT_S COMMAND ...

A process of its own, because Linux counts into a child's peak what its parent held when it was
started. The command's children count too, once they have ended. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any


def main() -> int:
    """Return the command's exit status, 124 where it ran past the limit."""
    written, limit, *command = sys.argv[1:]
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.execvp(command[0], command)
    late = False

    def end(*_: Any) -> None:
        nonlocal late
        late = True
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    signal.alarm(max(1, round(float(limit))))
    _, status, usage = os.wait4(child, 0)
    signal.alarm(0)
    kilo = 2**20 if sys.platform == "darwin" else 2**10
    found = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / kilo,
    }
    with open(written, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib is slow to load)
        json.dump(found, file)
    return 124 if late else abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main())
