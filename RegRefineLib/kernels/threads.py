"""Planes dealt out to threads: as many as torch is told to use, in one pool per process."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PARTS_PER_THREAD = 4  # uneven work evens out
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = Lock()

Loop = Callable[..., Any]


def spread(loop: Loop, count: int, *arguments: Any, part: int = 1) -> None:
    """Call loop(first, last, *arguments) for ranges that cover 0..count, on all threads.

    Args:
        loop: compiled, without Python's lock, writing to what belongs to first..last alone.
        part: ranges begin at its multiples: for loops whose work before the first plane pays.
    """
    threads = torch.get_num_threads()
    pieces = min(-(-count // part), threads * _PARTS_PER_THREAD)
    if threads == 1 or pieces <= 1:
        loop(0, count, *arguments)
        return
    ends = [min(count, part * (-(-count // part) * n // pieces)) for n in range(pieces + 1)]
    ends[-1] = count
    pool = _pool(threads)
    futures = [pool.submit(loop, a, b, *arguments) for a, b in pairwise(ends)]
    wait(futures)
    for future in futures:
        future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the pool of this process; a forked child gets its own, threads do not survive."""
    key = (os.getpid(), threads)
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="regrefine")
        return pool


def array(x: Tensor) -> NDArray[Any]:
    """Return a tensor's numbers for a loop, contiguous; a copy only where they are not."""
    return x.detach().contiguous().numpy()


def nothing() -> NDArray[np.float32]:
    """Return the volume (0, 0, 0) that stands for a volume that is not given."""
    return np.empty((0, 0, 0), np.float32)
