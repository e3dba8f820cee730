"""SyN, symmetric normalisation (Avants et al. 2008), as a start: antspyx in a process of its own.

antspyx is an extra and CPU only. A process of its own can be ended when it takes too long, and what
the C++ code does to memory and threads stays there. The affine part is already out of the pair, so
SyN alone runs, from the identity. Repeatable with one thread only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RegRefineError
from ..job import Progress
from ..pair import Pair, Report
from ..settings import read_settings

METRICS = {"mattes": "mattes", "cc": "CC", "meansquares": "meansquares", "demons": "demons"}
PULSE_S = 1.0  # between two reports


@dataclass(frozen=True)
class Settings:
    """Settings of SyN; the defaults are antspyx's own, which papers mean by "SyN".

    Attributes:
        metric: mattes, cc, meansquares or demons.
        sampling: histogram bins of mattes, radius in voxels of cc (2 to 4 is usual).
        iterations: at 1/4, 1/2 and full resolution, separated by commas; more numbers begin
            coarser.
        gradient_step, flow_sigma, total_sigma: step length, smoothing of the update and of the
            whole field.
        threads: 0 leaves it to ITK.
        seed: of the random sampling.
        time_limit_s: the process is ended after so long.
    """

    metric: str = "mattes"
    sampling: int = 32
    iterations: str = "40,20,0"
    gradient_step: float = 0.2
    flow_sigma: float = 3.0
    total_sigma: float = 0.0
    threads: int = 0
    seed: int = 1
    time_limit_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.metric.lower() not in METRICS:
            raise RegRefineError(f"metric: one of {', '.join(METRICS)}, got {self.metric!r}")
        if not self.numbers:
            raise RegRefineError(
                f"iterations: whole numbers like 40,20,0 are needed, got {self.iterations!r}"
            )

    @property
    def numbers(self) -> list[int]:
        """The iterations of each resolution; empty where the text is wrong."""
        words = [word.strip() for word in self.iterations.split(",")]
        return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return SyN's displacement (1, 3, D, H, W) in voxels of the pair's grid.

    Raises:
        RegRefineError: antspyx is not installed, a setting is wrong, SyN fails or takes longer than
            its limit.
    """
    chosen = read_settings(Settings, settings)
    if importlib.util.find_spec("ants") is None:
        raise RegRefineError("start syn needs the package antspyx: pip install 'RegRefineLib[syn]'")
    with tempfile.TemporaryDirectory(prefix="regrefine_syn_") as name:
        folder = Path(name)
        _write(pair, chosen, folder)
        _run(folder, chosen, report)
        vectors = np.load(folder / "displacement.npy")
    if vectors.shape != (*pair.shape, 3) or not np.isfinite(vectors).all():
        raise RegRefineError("start syn: SyN gave no usable field for these images")
    return torch.from_numpy(np.moveaxis(vectors, -1, 0).copy())[None].to(pair.fixed)


def _write(pair: Pair, settings: Settings, folder: Path) -> None:
    for name in ("fixed", "moving", "fixed_mask", "moving_mask"):
        image = getattr(pair, name)
        if image is not None:
            np.save(folder / f"{name}.npy", image[0, 0].float().cpu().numpy())
    job = {
        **asdict(settings),
        "metric": METRICS[settings.metric.lower()],
        "iterations": settings.numbers,
        "spacing": [float(s) for s in pair.geometry.spacing[::-1]],
    }
    (folder / "job.json").write_text(json.dumps(job))


def _run(folder: Path, settings: Settings, report: Report) -> None:
    """Run the process to its end; whatever the report raises ends it too."""
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
