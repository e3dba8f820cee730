"""What on_device.py tests, on the simulated device, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import simulated_device

CASES = Path(__file__).with_name("on_device.py")


@pytest.mark.slow
def test_the_library_runs_on_a_device_with_memory_of_its_own() -> None:
    if simulated_device.why_not():
        pytest.skip(simulated_device.why_not())
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
