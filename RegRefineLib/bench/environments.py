"""The peers' Python environments: where they are, and how one is made on request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..errors import RegRefineError
from .tools import OWN, Tool

VARIABLE = "REGREFINE_PEERS"


def folder(given: str | None = None) -> Path:
    """Return the folder of environments: the given one, REGREFINE_PEERS, or in the user's cache."""
    named = given or os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "regrefine" / "peers"


def python_of(tool: Tool, environments: Path) -> Path | None:
    """Return the Python that runs the tool, or None if its environment does not exist."""
    if tool.environment == OWN:
        return Path(sys.executable)
    parts = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    path = environments.joinpath(tool.environment, *parts)
    return path if path.exists() else None


def install(tool: Tool, environments: Path) -> Path:
    """Make the tool's environment with venv and pip, and return its Python.

    Raises:
        RegRefineError: the tool needs none, or pip failed.
    """
    if tool.environment == OWN:
        raise RegRefineError("--install: this is RegRefine itself, there is nothing to install")
    target = environments / tool.environment
    _run([sys.executable, "-m", "venv", str(target)])
    python = python_of(tool, environments)
    if python is None:
        raise RegRefineError(f"--install: {target} holds no Python after it was made")
    _run([str(python), "-m", "pip", "install", "--quiet", *tool.packages])
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RegRefineError(f"--install: {' '.join(command[1:4])} failed: {said[-1:]}")
