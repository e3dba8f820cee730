"""Where the checkout lies, and the data and numbers that are not part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "Testing" / "support"
MODULE = ROOT / "RegRefine"


def outside(variable: str, folder: str) -> Path:
    """Return the folder an environment variable names, or ../shared/`folder`; else skip."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder")
    return path


def python_path(*folders: Path) -> dict[str, str]:
    """Return the environment in which a program of the tests finds the library and the bridge."""
    known = [ROOT, MODULE, ROOT / "Testing", *folders]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, known))}
