"""Where the data that is not part of the project lies, and how tests without it say so."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from support.paths import outside
from support.skips import is_expected, is_strict, reason_of

# The same examples in every run, so that a change is judged by what it changes;
# REGREFINE_EXPLORE=1 draws new ones. A busy machine's pauses are no failures.
EXPLORE = bool(os.environ.get("REGREFINE_EXPLORE"))
settings.register_profile("same", derandomize=not EXPLORE, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return outside("REGREFINE_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return outside("REGREFINE_GOLDEN", "golden")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """An unexpected skip fails where every check is due (REGREFINE_STRICT=1, CI=true)."""
    _fail_unexpected((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    """The same for files that skip as a whole."""
    _fail_unexpected((yield).get_result())


def _fail_unexpected(report):
    if report.skipped and not hasattr(report, "wasxfail") and is_strict():
        reason = reason_of(report.longrepr)
        if not is_expected(reason):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: unexpected skip: {reason}"


def pytest_terminal_summary(terminalreporter):
    """Count the skips by reason, the unexpected ones first."""
    reports = terminalreporter.stats.get("skipped", [])
    counts = Counter(reason_of(report.longrepr) for report in reports)
    for reason, count in sorted(counts.items(), key=lambda each: (is_expected(each[0]), -each[1])):
        kind = "skipped" if is_expected(reason) else "UNEXPECTED skip"
        terminalreporter.write_line(f"{kind}: {count} x {reason}")
