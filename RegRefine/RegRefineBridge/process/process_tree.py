"""End a process and all that it started, on every platform; psutil where it is installed."""

from __future__ import annotations

import os
import signal


def kill_tree(pid: int) -> bool:
    """Kill a process and its descendants without asking; return whether it is gone.

    Slicer's Python need not have psutil: without it the process alone is killed. Its own children
    (numba's and torch's are threads, not processes) then end with their pipes.
    """
    try:
        import psutil
    except ImportError:
        return _kill_one(pid)
    try:
        root = psutil.Process(pid)
        doomed = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return _kill_one(pid)
    done = True
    for process in doomed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        except psutil.Error:
            done = False
    return done


def _kill_one(pid: int) -> bool:
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True
