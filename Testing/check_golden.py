"""Compare with the numbers of the published programs: one line per golden file.

    python Testing/check_golden.py FILE_OR_DIR...

Exits 1 when a file fails. Files of a kind that has no checker are listed as not covered.
Each kind's checker is a file of Testing/golden/ with `covers(name) -> bool` and
`check(data, meta) -> list[Comparison]`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import golden
import numpy as np
from golden.comparison import Comparison


def checkers() -> list:
    names = [m.name for m in pkgutil.iter_modules(golden.__path__)]
    modules = [importlib.import_module(f"golden.{name}") for name in sorted(names)]
    return [m for m in modules if hasattr(m, "covers")]


def files_of(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.npz")) if path.is_dir() else [path]
    return found


def check_file(path: Path) -> list[Comparison] | None:
    """Return the file's comparisons, or None where no checker covers it."""
    with np.load(path, allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    meta = json.loads(str(data.pop("meta")))
    name = meta.get("name", path.stem)
    for checker in checkers():
        if checker.covers(name):
            return checker.check(data, meta)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="golden .npz files or folders of them")
    parser.add_argument("-v", "--verbose", action="store_true", help="every compared value")
    arguments = parser.parse_args()
    failed = False
    for path in files_of(arguments.paths):
        try:
            comparisons = check_file(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"{path.stem:38} cannot be read: {error}")
            failed = True
            continue
        if comparisons is None:
            print(f"{path.stem:38} not covered")
            continue
        worst = max(comparisons, key=lambda c: c.difference / c.tolerance)
        passed = all(c.passed for c in comparisons)
        failed |= not passed
        verdict = "pass" if passed else "FAIL"
        print(
            f"{path.stem:38} largest difference {worst.difference:.3g} "
            f"tolerance {worst.tolerance:.3g} ({worst.name}; {len(comparisons)} compared) {verdict}"
        )
        if arguments.verbose:
            for c in comparisons:
                print(f"    {c.name:48} {c.difference:.3g} <= {c.tolerance:.3g} {c.passed}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
