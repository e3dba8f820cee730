"""The golden inputs, made anew by the generator that lies beside the golden files.

The generator is found in the folder that REGREFINE_GOLDEN names, else in ../shared/golden, and is
loaded when a function is first asked for, so that importing this file never fails.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

FUNCTIONS = (
    "golden_pair",
    "golden_warped_pair",
    "golden_field",
    "golden_labels",
    "golden_tensor",
)


@functools.cache
def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_generator", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: set REGREFINE_GOLDEN to the folder of the golden files"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator() -> ModuleType:
    """Return the generator's module.

    Raises:
        FileNotFoundError: there is no generator.py in the golden folder.
    """
    beside = Path(__file__).resolve().parents[3] / "shared" / "golden"
    return _load(Path(os.environ.get("REGREFINE_GOLDEN", beside)) / "generator.py")


def __getattr__(name: str) -> Any:
    """Return one of the generator's functions: `from golden.inputs import golden_pair`."""
    if name not in FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(generator(), name)
