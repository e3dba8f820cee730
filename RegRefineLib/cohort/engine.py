"""Where runs are done: Dask on this machine, on a cluster that runs, or on a batch system.

Each worker is a process with one slot, so a run has its threads to itself. A worker that is killed
costs its own run alone, which is done again; a run that took three workers down is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RegRefineError
from .execute import Record, execute, head, tail
from .runs import Run

AGAIN = 2  # how often a run whose worker died is tried again
BATCH = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster"}


@dataclass(frozen=True)
class Where:
    """Where to run.

    Attributes:
        workers: processes on this machine, or jobs of a batch system.
        threads: of each run.
        memory: bytes that a run needs, asked of a batch system.
        scheduler: address of a Dask scheduler that runs already.
        batch: slurm, pbs or sge; walltime (HH:MM:SS), queue and gpu go with it.
    """

    workers: int = 1
    threads: int = 1
    memory: int = 2**31
    scheduler: str = ""
    batch: str = ""
    walltime: str = "04:00:00"
    queue: str = ""
    gpu: bool = False


Perform = Callable[[Sequence[Run], Path, Callable[[Record], None]], None]


@contextmanager
def opened(where: Where, say: Callable[[str], None]) -> Iterator[Perform]:
    """Give a function that does runs: (runs, folder, done); what it starts ends with the block.

    `done` gets each run's record as it ends; `say` is told the dashboard's address.

    Raises:
        RegRefineError: Dask is needed and not installed, or the scheduler cannot be reached.
    """
    if where.workers <= 1 and not where.scheduler and not where.batch:
        yield partial(_one_by_one, where)
        return
    with _client(where) as client:
        say(f"Dask's dashboard: {client.dashboard_link}")
        yield partial(_gathered, client, where)


def perform(
    runs: Sequence[Run],
    folder: Path,
    where: Where,
    done: Callable[[Record], None],
    say: Callable[[str], None],
) -> None:
    """Do the runs; arguments and errors as `opened`."""
    with opened(where, say) as do:
        do(runs, folder, done)


def batch_cluster(where: Where) -> Any:
    """Return dask-jobqueue's cluster for a batch system; its `job_script()` is what is submitted.

    A worker stops five minutes before its walltime, so that the run that it does is not counted as
    lost, and the batch system's next job goes on.
    """
    jobqueue = _imported("dask_jobqueue")
    directives = []
    if where.gpu:
        asked = {"slurm": "--gres=gpu:1", "pbs": "-l ngpus=1", "sge": "-l gpu=1"}
        directives.append(asked[where.batch])
    lifetime = max(60, _seconds(where.walltime) - 300)
    return getattr(jobqueue, BATCH[where.batch])(
        cores=where.threads,
        processes=1,
        memory=f"{-(-where.memory // 2**20)}MiB",
        walltime=where.walltime,
        queue=where.queue or None,
        job_extra_directives=directives,
        worker_extra_args=["--nthreads", "1", "--lifetime", f"{lifetime}s"],
        job_script_prologue=[f"export {name}={n}" for name, n in _variables(where).items()],
    )


def _one_by_one(
    where: Where, runs: Sequence[Run], folder: Path, done: Callable[[Record], None]
) -> None:
    """Do the runs in this process."""
    from ..threads import use

    use(where.threads)
    for run in runs:
        done(execute(run, folder))


def _gathered(
    client: Any, where: Where, runs: Sequence[Run], folder: Path, done: Callable[[Record], None]
) -> None:
    """Send the runs and hand on their records in the order in which they end."""
    distributed = _imported("distributed")
    place = str(folder.absolute())
    futures = {
        client.submit(
            _on_worker, run, place, where.threads, key=f"{run.name}-{run.digest[:12]}", pure=False
        ): run
        for run in runs
    }
    try:
        for future in distributed.as_completed(futures):
            run = futures[future]
            if future.status == "finished":
                done(future.result())
            else:
                done(_lost(run, folder, future))
            future.release()
    except KeyboardInterrupt:
        client.cancel(list(futures))
        raise


def _on_worker(run: Run, folder: str, threads: int) -> Record:
    """Do a run in a worker's process."""
    from ..memory import keep_freed_memory
    from ..threads import use

    keep_freed_memory()
    use(threads)
    return execute(run, folder)


def _lost(run: Run, folder: Path, future: Any) -> Record:
    """Return the record of a run that took its workers down, or could not be sent back."""
    error = future.exception()
    killed = type(error).__name__ == "KilledWorker"
    why = f"its worker was killed {AGAIN + 1} times" if killed else f"{type(error).__name__}"
    last = tail(folder, run.name)
    reason = f"{why}; the log ends with: {last}" if last else why
    return {**head(run), "status": "failed", "reason": reason, "seconds": None}


@contextmanager
def _client(where: Where) -> Iterator[Any]:
    """Give a client of the scheduler that is asked for; what was started here ends with it."""
    dask, distributed = _imported("dask"), _imported("distributed")
    settings = {
        "distributed.scheduler.allowed-failures": AGAIN,
        # a worker gets its next run when it is free: a run that only waits is not lost with it
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.nanny.pre-spawn-environ": _variables(where),
        "distributed.comm.timeouts.connect": "60s",
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if where.scheduler:
            try:
                client = distributed.Client(where.scheduler, timeout="30s")
            except (OSError, ValueError) as error:
                raise RegRefineError(
                    f"--scheduler: no Dask scheduler answers at {where.scheduler}"
                ) from error
        else:
            cluster = stack.enter_context(_cluster(where, distributed))
            client = distributed.Client(cluster)
        yield stack.enter_context(client)


@contextmanager
def _cluster(where: Where, distributed: Any) -> Iterator[Any]:
    if where.batch:
        with batch_cluster(where) as cluster:
            cluster.scale(jobs=where.workers)
            yield cluster
        return
    with distributed.LocalCluster(
        n_workers=where.workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # the memory plan has counted; Dask would end a worker at its peak
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
        env=_variables(where),
    ) as cluster:
        yield cluster


def _variables(where: Where) -> dict[str, str]:
    """Return the environment of a worker: its threads, which sleep while they wait."""
    number = str(where.threads)
    return {
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "OMP_WAIT_POLICY": "PASSIVE",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": number,
    }


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RegRefineError(
            f"{name.replace('_', '-')} is not installed: pip install 'RegRefineLib[cohort]', "
            "or run one at a time with --workers 1"
        ) from error


def _seconds(walltime: str) -> int:
    """Return the seconds of HH:MM:SS.

    Raises:
        RegRefineError: it is not written so.
    """
    parts = walltime.split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise RegRefineError(f"--walltime: HH:MM:SS is needed, got {walltime!r}")
    hours, minutes, seconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds
