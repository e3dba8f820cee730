"""A small network and the entry of models.json that lists it, for the tests of weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from RegRefineLib.io import paths
from RegRefineLib.weights import catalogue

SMALL = {"encoder": [2, 3], "decoder": [3, 3, 2]}
ENTRY = {
    "help": "a small one",
    "network": "voxelmorph",
    "file": "w.pth",
    "sha256": None,
    "preprocessing": {"intensity": ["ct"], "orientation": "LIA"},
    "training_data": "nothing",
    "licence": "CC0-1.0",
    "citation": "nobody",
}


def digest(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def use_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have models and the cache lie in `root`."""
    monkeypatch.setenv(catalogue.FOLDER_VARIABLE, str(root / "models"))
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(root / "cache"))
    (root / "models").mkdir()


def list_model(root: Path, **values: Any) -> None:
    """Write a models.json with one model `small`, its entry changed by `values`."""
    content = {"format": 1, "models": {"small": {**ENTRY, **values}}}
    (root / "models" / "models.json").write_text(json.dumps(content))
