"""Every golden file that has a checker, one test each."""

import os
from pathlib import Path

import pytest
from check_golden import check_file
from support.paths import ROOT

FOLDER = Path(os.environ.get("REGREFINE_GOLDEN", ROOT.parent / "shared" / "golden"))
FILES = sorted(path.name for path in FOLDER.glob("*.npz")) if FOLDER.is_dir() else []


@pytest.mark.parametrize("name", FILES or ["no golden files"])
def test_agrees_with_the_published_program(golden_dir, name):
    if name not in FILES:
        pytest.skip(f"{golden_dir} holds no golden files")
    comparisons = check_file(golden_dir / name)
    if comparisons is None:
        pytest.skip("no checker covers it yet")
    failed = [c for c in comparisons if not c.passed]
    assert not failed, "\n".join(
        f"{c.name}: off by {c.difference:.3g}, allowed {c.tolerance:.3g}" for c in failed
    )
    assert comparisons
