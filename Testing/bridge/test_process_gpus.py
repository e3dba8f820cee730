"""GPUs as the driver's program lists them, and none where it is absent, slow or silent."""

from __future__ import annotations

import os
import stat
import sys

import pytest
from RegRefineBridge.process import gpus

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def driver(folder, monkeypatch, script: str) -> None:
    """Put a program of the driver's name on the path."""
    program = folder / gpus.PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))


@posix
def test_two_gpus_with_their_free_memory(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, "echo '0, RTX A, 8000, 24000'; echo '1, RTX B, Ti, 100, 12000'")
    assert gpus.gpus() == [(0, "RTX A", 8000, 24000), (1, "RTX B, Ti", 100, 12000)]


@posix
@pytest.mark.parametrize("script", ["exit 9", "echo nothing here", "sleep 5"])
def test_a_driver_that_does_not_answer(tmp_path, monkeypatch, script):
    monkeypatch.setattr(gpus, "PATIENCE_S", 0.2)
    driver(tmp_path, monkeypatch, script)
    assert gpus.gpus() == []


def test_no_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.gpus() == []
