"""RegRefine.py opened as Slicer opens it, on real MRML and real Qt under PythonQt's rules."""

from __future__ import annotations

import subprocess
import sys

from support.paths import SUPPORT, python_path


def test_the_module_and_its_self_tests_run():
    """In a process of its own: it replaces parts of the slicer package."""
    program = SUPPORT / "module_in_stubs.py"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(program)],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**python_path(), "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
