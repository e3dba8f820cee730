"""Where the data that is not part of the project lies, and how tests without it say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a change is judged by what it changes;
# REGREFINE_EXPLORE=1 draws new ones. A busy machine's pauses are no failures.
EXPLORE = bool(os.environ.get("REGREFINE_EXPLORE"))
settings.register_profile("same", derandomize=not EXPLORE, deadline=None)
settings.load_profile("same")

ROOT = Path(__file__).resolve().parent.parent


def outside(variable: str, folder: str) -> Path:
    """Return the folder an environment variable names, or ../shared/`folder`; else skip."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return outside("REGREFINE_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return outside("REGREFINE_GOLDEN", "golden")
