"""What a bug report needs: versions, devices, threads, memory, folders, weights."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

from . import __version__
from .io.paths import cache_folder
from .limits import free_memory, processors
from .provenance import machine
from .weights.catalogue import catalogue, folder, local_file
from .weights.store import sha256

PACKAGES = (
    *("torch", "numpy", "scipy", "SimpleITK", "nibabel", "numba", "safetensors", "pooch"),
    *("matplotlib", "jinja2", "tqdm", "psutil", "surface-distance", "antspyx", "itk"),
)


def diagnosis() -> dict[str, Any]:
    """Return what `regrefine doctor` shows, as plain values; nothing is changed or downloaded."""
    import torch

    return {
        "RegRefineLib": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": machine(),
        "devices": {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
        },
        "threads": {"allowed": processors(), "torch": torch.get_num_threads()},
        "free_memory_gb": round(free_memory() / 2**30, 1),
        "folders": {"cache": str(cache_folder()), "models": str(folder())},
        "weights": _weights(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _weights() -> dict[str, str]:
    """Return the state of every model whose file is on this machine."""
    found = {}
    for name, model in catalogue().items():
        path = local_file(model)
        if path is None:
            continue
        if model.sha256 is None:
            found[name] = "here; its checksum is not known"
        else:
            intact = sha256(path) == model.sha256
            found[name] = "intact" if intact else f"ALTERED: {path}; remove and fetch it again"
    return found
