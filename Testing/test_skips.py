"""An unexpected skip is counted, and fails where every check is due."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT, python_path

OPTIONS = ("--continue-on-collection-errors", "-p", "no:cacheprovider")
CASES = {
    "test_call.py": "import pytest\ndef test_one():\n    pytest.skip('no time today')\n",
    "test_file.py": "import pytest\npytest.importorskip('no_such_module')\n",
    "test_known.py": "import pytest\ndef test_two():\n    pytest.skip('no /dev/full here')\n",
}


def ran(folder: Path, **environment: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text((ROOT / "Testing" / "conftest.py").read_text())
    for name, text in CASES.items():
        (folder / name).write_text(text)
    known = {k: v for k, v in python_path().items() if k not in ("CI", "REGREFINE_STRICT")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--continue-on-collection-errors",
            "-p",
            "no:cacheprovider",
            str(folder),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**known, **environment},
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("variable", ["CI", "REGREFINE_STRICT"])
def test_an_unexpected_skip_fails_a_strict_run_alone(tmp_path, variable):
    status, text = ran(tmp_path)
    assert status == 0
    assert "UNEXPECTED skip: 1 x no time today" in text
    assert "skipped: 1 x no /dev/full here" in text
    status, text = ran(tmp_path, **{variable: "true"})
    assert status != 0
    assert "unexpected skip: no time today" in text
    assert "no_such_module" in text
    assert "skipped: 1 x no /dev/full here" in text
