"""Run a command and write its seconds and peak memory: a script with a small memory footprint.

    python -I measure.py FIGURES.json LIMIT_S COMMAND ...

It is a process of its own, because on Linux a child's peak memory includes what its parent held
when it was started. The command's children count too, once they have ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time


def main() -> int:
    """Return the command's exit status, 124 where it ran past the limit."""
    written, limit, *command = sys.argv[1:]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    late = threading.Event()

    def end() -> None:
        late.set()
        end_tree(process.pid)

    clock = threading.Timer(max(0.1, float(limit)), end)
    clock.daemon = True
    clock.start()
    status, usage = _waited(process) if hasattr(os, "wait4") else _watched(process)
    clock.cancel()
    found = {"wall_s": time.perf_counter() - started, **usage}
    with open(written, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib is slow to load)
        json.dump(found, file)
    return 124 if late.is_set() else abs(status)


def end_tree(pid: int) -> None:
    """End a process and all that it has started."""
    import psutil  # only now: what is loaded earlier would add to the command's peak

    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in tree:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def _waited(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, float]]:
    """Return the exit status and the usage that the system recorded (POSIX)."""
    _, status, usage = os.wait4(process.pid, 0)
    kilo = 2**20 if sys.platform == "darwin" else 2**10
    spent = usage.ru_utime + usage.ru_stime
    return os.waitstatus_to_exitcode(status), {"cpu_s": spent, "peak_mb": usage.ru_maxrss / kilo}


def _watched(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, float]]:
    """Return the exit status and the usage sampled shortly before the process ended (Windows)."""
    import psutil

    cpu_s = peak = 0.0
    while process.poll() is None:
        try:
            known = psutil.Process(process.pid)
            times, memory = known.cpu_times(), known.memory_info()
            cpu_s = max(cpu_s, times.user + times.system)
            peak = max(peak, getattr(memory, "peak_wset", memory.rss) / 2**20)
        except psutil.Error:  # it has just ended
            break
        time.sleep(0.02)
    return process.wait(), {"cpu_s": cpu_s, "peak_mb": peak}


if __name__ == "__main__":
    sys.exit(main())
