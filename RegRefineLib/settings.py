"""How the settings of refinements and starts are declared, read and checked.

Standard library only, so that the panel inside Slicer reads the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from .errors import RegRefineError

T = TypeVar("T")


def read_settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return dataclass `kind` filled from `values`.

    Numbers given as text (from a command line) are converted to the type of the field's default.

    Raises:
        RegRefineError: an unknown name, or a value of the wrong kind.
    """
    defaults = {f.name: getattr(kind(), f.name) for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise RegRefineError(
            f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(defaults))}"
        )
    return kind(**{name: _convert(name, value, defaults[name]) for name, value in values.items()})


def _convert(name: str, value: Any, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            if isinstance(value, str):
                return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
            return bool(value)
        if isinstance(default, int):
            number = float(value)
            if number != int(number):
                raise ValueError(value)
            return int(number)
        if isinstance(default, float):
            number = float(value)
            if number != number or number in (float("inf"), float("-inf")):
                raise ValueError(value)
            return number
    except (KeyError, OverflowError, TypeError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise RegRefineError(f"setting {name}: {kind} is needed, got {value!r}") from None
    return str(value)
