"""Stand-ins for register() that behave in a named way, served as a worker process.

python worker_behaviours.py NAME [--idle S] serves one of them; with `parent NAME FOLDER` it is a
program that starts such a worker on a job, prints the worker's pid and waits to be killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from RegRefineLib.errors import RegRefineError, Stopped
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import Job, Progress, Result
from RegRefineLib.worker.server import main

STEPS = 60
STEP_S = 0.02


def result_of(fixed: Volume, job: Job, value: float = 0.0, history: list | None = None) -> Result:
    """Return a result whose field is `value` mm everywhere."""
    vectors = np.full((*fixed.geometry.shape, 3), value, np.float32)
    return Result(
        field=DisplacementField(vectors, fixed.geometry),
        affine=np.eye(4),
        warped=fixed,
        warped_labels=None,
        inverse=None,
        inverse_error_mm=None,
        jacobian=None,
        before={"ncc": 0.5},
        affine_only={},
        after={"ncc": 0.7},
        history=history or [],
        seconds={"refine": 1.0},
        peak_memory_mb=1.0,
        versions={},
        device="cpu",
        job=job,
        warnings=[],
    )


def steps(fixed, moving, job, report, extras):
    """Many short steps; the field's value is the number of steps done."""
    done, history = 0, []
    try:
        report(Progress("prepare"))
        for step in range(STEPS):
            time.sleep(STEP_S)
            done = step + 1
            history.append({"step": float(step), "total": 1.0 / done})
            report(Progress("refine", step, STEPS, loss={"total": 1.0 / done}))
    except Stopped:
        report(Progress("finish", message="stopped"))
    return result_of(fixed, job, float(done), history)


def thorough(fixed, moving, job, report, extras):
    """Hears a stop at once, and then takes long over the results without a report."""
    try:
        while True:
            time.sleep(STEP_S)
            report(Progress("refine", 0, STEPS))
    except Stopped:
        report(Progress("finish"))
    time.sleep(1.2)
    return result_of(fixed, job, 1.0)


def deep(fixed, moving, job, report, extras):
    """One torch operation of many seconds, as inside a network pass."""
    import torch

    torch.set_num_threads(1)
    report(Progress("start", message="network"))
    big = torch.ones(5000, 5000)
    torch.mm(big, big)
    return result_of(fixed, job)


def stubborn(fixed, moving, job, report, extras):
    """Computes in Python, reporting once only."""
    report(Progress("start"))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        sum(range(10000))
    return result_of(fixed, job)


def hung(fixed, moving, job, report, extras):
    """Stands still with every thread, as in a driver that never comes back."""
    report(Progress("start"))
    time.sleep(0.3)  # for the report to go out
    os.kill(os.getpid(), signal.SIGSTOP)
    return result_of(fixed, job)


def killed(fixed, moving, job, report, extras):
    """Killed from outside, as by a system short of memory."""
    report(Progress("refine"))
    print("the last words of a library")
    os.write(1, b"and of its C part\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def user_error(fixed, moving, job, report, extras):
    raise RegRefineError("the volumes do not overlap; move one over the other")


def memory(fixed, moving, job, report, extras):
    raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")


def fault(fixed, moving, job, report, extras):
    raise ValueError("nobody foresaw this")


def warner(fixed, moving, job, report, extras):
    report(Progress("prepare", message="the volumes hardly overlap", warning=True))
    return result_of(fixed, job)


BEHAVIOURS = {
    f.__name__: f
    for f in (steps, thorough, deep, stubborn, hung, killed, user_error, memory, fault, warner)
}


def parent(name: str, folder: str) -> None:
    from RegRefineBridge.process.client import WorkerClient
    from RegRefineBridge.process.transports import SubprocessTransport

    client = WorkerClient(SubprocessTransport, arguments=(__file__, name))

    def tell(event):
        if event["event"] == "hello":
            print(event["pid"], flush=True)
        if event["event"] == "progress":
            print("running", flush=True)

    client.onEvent = tell
    client.start(Path(folder))
    while True:
        client.poll()
        time.sleep(0.02)


if __name__ == "__main__":
    if sys.argv[1] == "parent":
        parent(*sys.argv[2:])
    sys.exit(main(sys.argv[2:], BEHAVIOURS[sys.argv[1]]))
