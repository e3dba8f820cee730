"""Job folders: gone at the end, gone when the process ends, swept up after one that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from RegRefineBridge.workflow.job_folders import JobFolders
from support.paths import ROOT

MAKE = """
import sys
from pathlib import Path
from RegRefineBridge.workflow.job_folders import JobFolders
folder = JobFolders(Path(sys.argv[1]))()
(folder / "fixed.npy").write_bytes(bytes(1000))
print(folder, flush=True)
if len(sys.argv) > 2:
    sys.stdin.read()
"""


def start(root, *arguments):
    path = os.pathsep.join([str(ROOT / "RegRefine"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(root), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_an_ordinary_exit_leaves_nothing(tmp_path):
    process = start(tmp_path)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert str(tmp_path) in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_what_a_killed_program_left_goes_at_the_next_start_and_nothing_else(tmp_path):
    killed, alive = start(tmp_path, "wait"), start(tmp_path, "wait")
    left, kept = (each.stdout.readline().strip() for each in (killed, alive))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdin.close()
    killed.stdout.close()
    (tmp_path / "RegRefine-notes").mkdir()
    (tmp_path / "of another program").mkdir()
    folders = JobFolders(tmp_path)
    mine = folders()
    assert not os.path.exists(left)  # noqa: PTH110
    names = {path.name for path in tmp_path.iterdir()}
    assert {"RegRefine-notes", "of another program", mine.name} <= names
    assert os.path.exists(kept)  # noqa: PTH110
    alive.communicate("")
    folders.clear()
    assert not mine.exists()
