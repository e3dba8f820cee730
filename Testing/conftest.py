"""Where the data that is not part of the project lies, and how tests without it say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support.paths import outside

# The same examples in every run, so that a change is judged by what it changes;
# REGREFINE_EXPLORE=1 draws new ones. A busy machine's pauses are no failures.
EXPLORE = bool(os.environ.get("REGREFINE_EXPLORE"))
settings.register_profile("same", derandomize=not EXPLORE, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return outside("REGREFINE_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return outside("REGREFINE_GOLDEN", "golden")
