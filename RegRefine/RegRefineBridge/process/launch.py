"""How the worker is launched: which interpreter, and in which environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import RegRefineLib
from RegRefineLib.errors import RegRefineError


def workerPython() -> str:
    """Return the interpreter for the worker: PythonSlicer inside Slicer, else this one.

    To be called when a worker is started: while Slicer imports a module, sys.executable is empty.

    Raises:
        RegRefineError: there is none.
    """
    found = shutil.which("PythonSlicer") or sys.executable
    if not found:
        raise RegRefineError(
            "no Python interpreter was found for the worker; start Slicer by its launcher, which "
            "puts PythonSlicer on the PATH"
        )
    return found


def workerEnvironment() -> dict[str, str]:
    """Return what the worker needs on top of the inherited environment."""
    library = str(Path(RegRefineLib.__file__).resolve().parent.parent)
    paths = [library, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",  # nothing from the folder that Slicer happens to run in
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",
    }
