"""RegRefine.py with Slicer's own Python half, where a checkout of Slicer's sources is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import SUPPORT, python_path


@pytest.fixture(scope="module")
def source() -> Path:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    folder = os.environ.get("SLICER_SOURCE_DIR")
    if not folder:
        pytest.skip("SLICER_SOURCE_DIR is not set to a checkout of Slicer's sources")
    path = Path(folder)
    if not (path / "Base" / "Python" / "slicer" / "parameterNodeWrapper").is_dir():
        pytest.skip(f"SLICER_SOURCE_DIR: {path} is no checkout of Slicer's sources")
    return path


def test_the_module_and_its_self_tests_run_on_slicer_s_own_python_half(source):
    """In a process of its own: it replaces parts of the slicer package."""
    program = SUPPORT / "module_in_stubs.py"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(program), str(source)],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**python_path(), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-8000:]
