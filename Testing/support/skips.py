"""Which skips are expected: what a machine cannot have, and data that are not part of the project.

Anything else that is skipped is a check that nobody notices is gone.
"""

from __future__ import annotations

import os
import re
from typing import Any

# a pattern of the reason -> why that is no fault
EXPECTED = {
    r"is not there; set REGREFINE_(DATA|GOLDEN)": "scans and numbers outside the project",
    r"holds no golden files": "the same",
    r"is not installed in REGREFINE_PEERS": "other tools, for comparison alone",
    r"could not import '(ants|h5py|itk)'": "optional extras (syn, h5)",
    r"^(root may write|this user may write everywhere)": "root ignores permissions",
    r"folders have no such mode there|no file size limit there|needs POSIX": "Windows",
    r"no small file system can be mounted here|no /dev/full here": "rights of the machine",
    r"torch has no oneDNN": "processors without it",
    r"the package needs an older scipy": "one release of an optional comparison",
    r"not a git checkout": "an unpacked archive",
    r"ITK writes no composites to \.mat|plain NIfTI has no checksum": "no such combination",
    r"the centre of mass of an inverted image": "no such combination",
    r"no Chromium on this machine": "optional, for the report's test in a browser",
    r"no C\+\+ compiler|no ninja|needs the simulated device": "the simulated device",
    r"no CUDA|no GPU|cuda is not": "machines without a GPU",
}
ON = {"1", "true", "yes", "on"}


def is_strict() -> bool:
    """Return whether an unexpected skip is a failure: where REGREFINE_STRICT or CI says so."""
    return any(os.environ.get(n, "").lower() in ON for n in ("REGREFINE_STRICT", "CI"))


def is_expected(reason: str) -> bool:
    """Return whether a skip's reason is in the list."""
    return any(re.search(pattern, reason) for pattern in EXPECTED)


def reason_of(report: Any) -> str:
    """Return the reason that pytest keeps with a skipped test or file."""
    text = report[2] if isinstance(report, tuple) else str(report)
    return str(text).removeprefix("Skipped: ")
