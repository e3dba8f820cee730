"""SyN, symmetric normalisation (Avants et al. 2008), as a start: antspyx in a process of its own.

antspyx is an extra and CPU only. A separate process can be ended when it takes too long, and
confines what the C++ code does to memory and threads. The affine part is already removed from the
pair, so SyN alone runs, from the identity. Runs are repeatable with one thread only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RegRefineError
from ..job import Progress
from ..pair import Pair, Report
from ..settings import read_settings
from .settings import SyN

METRICS = {"mattes": "mattes", "cc": "CC", "meansquares": "meansquares", "demons": "demons"}
PULSE_S = 1.0  # between two reports


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return SyN's displacement (1, 3, D, H, W) in voxels of the pair's grid.

    Raises:
        RegRefineError: antspyx is not installed, a setting is wrong, SyN fails or takes longer than
            its limit.
    """
    chosen = read_settings(SyN, settings)
    chosen.check_packages("start syn")
    with tempfile.TemporaryDirectory(prefix="regrefine_syn_") as name:
        folder = Path(name)
        _write(pair, chosen, folder)
        _run(folder, chosen, report)
        vectors = np.load(folder / "displacement.npy")
    if vectors.shape != (*pair.shape, 3) or not np.isfinite(vectors).all():
        raise RegRefineError("start syn: SyN gave no usable field for these images")
    return torch.from_numpy(np.moveaxis(vectors, -1, 0).copy())[None].to(pair.fixed)


def _write(pair: Pair, settings: SyN, folder: Path) -> None:
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        image = getattr(pair, name)
        if image is not None:
            np.save(folder / f"{name}.npy", image[0, 0].float().cpu().numpy())
    job = {
        **asdict(settings),
        "metric": METRICS[settings.metric],
        "iterations": settings.numbers,
        "spacing": [float(s) for s in pair.geometry.spacing[::-1]],
    }
    (folder / "job.json").write_text(json.dumps(job))


def _run(folder: Path, settings: SyN, report: Report) -> None:
    """Run the process to its end; an exception from the report callback ends it too."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if settings.threads:
        environment["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(settings.threads)
    command = [sys.executable, "-m", f"{__package__}.syn_process", str(folder)]
    log = folder / "log.txt"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            while process.poll() is None:
                seconds = time.monotonic() - begun
                if seconds > settings.time_limit_s:
                    raise RegRefineError(
                        f"start syn: not done after time_limit_s = {settings.time_limit_s:g}; "
                        "allow more, or fewer iterations or a coarser working grid"
                    )
                report(Progress("start", elapsed_s=seconds, message="SyN is at work"))
                _wait(process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {process.returncode}"
        raise RegRefineError(f"start syn: SyN failed: {reason}")


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PULSE_S)
    except subprocess.TimeoutExpired:
        return
