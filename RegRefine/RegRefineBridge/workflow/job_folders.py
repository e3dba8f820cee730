"""The folders that runs travel in: made per process, deleted at its end, swept up after a crash.

A folder is called RegRefine-<process id>-<something>. What a program leaves behind that was killed
is deleted when the next one asks for its first folder.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

PATTERN = re.compile(r"RegRefine-(\d+)-")
UNKNOWN_AGE_S = 2 * 86400.0


class JobFolders:
    """Makes empty folders under `root`; call it for a new one.

    Nothing is touched before the first folder is asked for.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root)
        self._made: list[Path] = []

    def __call__(self) -> Path:
        """Return a new, empty folder."""
        if not self._made:
            atexit.register(self.clear)
            self.removeAbandoned()
        name = tempfile.mkdtemp(prefix=f"RegRefine-{os.getpid()}-", dir=self._root)
        self._made.append(Path(name))
        return self._made[-1]

    def clear(self) -> None:
        """Delete every folder that was made here."""
        for folder in self._made:
            shutil.rmtree(folder, ignore_errors=True)

    def removeAbandoned(self) -> None:
        """Delete the folders of processes that are no more."""
        for folder in self._root.glob("RegRefine-*"):
            match = PATTERN.match(folder.name)
            if match is None or not folder.is_dir():
                continue
            pid = int(match.group(1))
            if pid != os.getpid() and _isGone(pid, folder):
                shutil.rmtree(folder, ignore_errors=True)


def _isGone(pid: int, folder: Path) -> bool:
    """Return whether the process that made a folder has ended."""
    try:
        import psutil
    except ImportError:
        return _isGoneWithoutPsutil(pid, folder)
    return not psutil.pid_exists(pid)


def _isGoneWithoutPsutil(pid: int, folder: Path) -> bool:
    if os.name != "posix":  # there, signal 0 would end the process
        return time.time() - folder.stat().st_mtime > UNKNOWN_AGE_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
