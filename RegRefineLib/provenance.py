"""Where a result comes from: inputs, command, hardware, and the papers to cite."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from .geometry import DisplacementField, Volume
from .job import Job

REGREFINE = "RegRefine: deformable registration refined at test time (CITATION.cff)"
# method -> the papers that describe it
PAPERS: dict[str, tuple[str, ...]] = {
    "affine": (
        "Studholme, Hill, Hawkes, Pattern Recognition 32 (1999), "
        "doi:10.1016/S0031-3203(98)00091-0 (normalised mutual information)",
    ),
    "pyramid": (
        "Avants, Epstein, Grossman, Gee, Medical Image Analysis 12 (2008), "
        "doi:10.1016/j.media.2007.06.004 (symmetric diffeomorphic registration, local correlation)",
        "Jena, Chaudhari, Gee, arXiv:2404.01249 (adaptive steps on diffeomorphisms)",
    ),
    "reg-ttr": ("Chen et al., arXiv:2601.19114 (Reg-TTR)",),
    "convexadam": (
        "Siebert, Grossbroehmer, Hansen, Heinrich, IEEE Trans. Medical Imaging (2024) (ConvexAdam)",
    ),
    "convexadam-adam": (
        "Siebert, Grossbroehmer, Hansen, Heinrich, IEEE Trans. Medical Imaging (2024) (ConvexAdam)",
    ),
    "firework": ("arXiv:2410.09595 (FiRework)",),
    "network-io": ("Tian et al., MICCAI 2024 (uniGradICON, instance optimisation)",),
    "syn": (
        "Avants, Epstein, Grossman, Gee, Medical Image Analysis 12 (2008), "
        "doi:10.1016/j.media.2007.06.004 (SyN)",
    ),
}


def machine() -> dict[str, Any]:
    """Return the computer: processor, cores, memory, system; the GPU where torch has one."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    return found


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def described(value: Any, given: Any = None) -> dict[str, Any]:
    """Return an input's grid, type and SHA-256; with its file where it came from one.

    Args:
        value: a Volume, a field or an array, as it was read.
        given: what the user named: a path, or anything else.
    """
    entry: dict[str, Any] = {}
    if isinstance(given, (str, os.PathLike)):
        entry = {"file": str(given), "sha256": _file_hash(Path(given)), "of": "file"}
    array, geometry = _parts(value)
    if array is not None and not entry.get("sha256"):
        entry |= {"sha256": _hash(array), "of": "array"}
    if array is not None:
        entry["type"] = str(array.dtype)
    if geometry is not None:
        entry["shape_ijk"] = [int(n) for n in geometry.shape[::-1]]
        entry["spacing_mm"] = [float(s) for s in geometry.spacing]
        entry["affine_ijk_to_ras_mm"] = geometry.affine.tolist()
    return entry


def command_line(words: Sequence[str]) -> str:
    """Return words as they would be typed into a shell."""
    return shlex.join(words)


def references(job: Job) -> list[str]:
    """Return the papers to cite for a job as it was done, RegRefine first."""
    found = [REGREFINE]
    affine = job.affine or "none"
    names = [*(["affine"] if affine.endswith(("rigid", "affine")) else [])]
    names += [job.start or "none", job.refinement or "none"]
    for name in names:
        found += [paper for paper in PAPERS.get(name, ()) if paper not in found]
    for settings in (job.start_settings, job.settings):
        found += [paper for paper in _of_model(settings) if paper not in found]
    return found


def _of_model(settings: Mapping[str, Any]) -> list[str]:
    """Return the citation of the model that the settings name, where it is in models.json."""
    weights = settings.get("weights")
    if not weights:
        return []
    from .weights.catalogue import catalogue

    model = catalogue().get(str(weights))
    return [] if model is None else [model.citation]


def _processor() -> str:
    """Return the processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _parts(value: Any) -> tuple[Any, Any]:
    if isinstance(value, Volume):
        return value.array, value.geometry
    if isinstance(value, DisplacementField):
        return value.vectors, value.geometry
    return (value, None) if isinstance(value, np.ndarray) else (None, None)


def _hash(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _file_hash(path: Path) -> str:
    """Return a file's SHA-256; of a folder, that of its files' in the order of their names."""
    digest = hashlib.sha256()
    try:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError:  # gone or replaced since it was read; the array's own hash is taken instead
        return ""
    return digest.hexdigest()
