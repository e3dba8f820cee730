"""How the settings of refinements and starts are declared, read and checked.

A settings class is a frozen dataclass that derives from `Settings` and declares each field with
`setting(default, help, ...)`. That declaration is the only copy: the command line, the panel, the
documentation and the checks all read it. Standard library only, so that it loads inside Slicer.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

from .errors import RegRefineError, unknown

T = TypeVar("T")
Number = float | int


def setting(
    default: Any,
    help: str,
    *,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field with one line of help and the values that it may take.

    Args:
        default: its type (bool, int, float or str) is the setting's.
        low, high: the range of a number, both ends included.
        above: what a number must be larger than.
        choices: the allowed values of a text, if not every text is allowed.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata=metadata)


class Setting(NamedTuple):
    """One setting as it was declared."""

    name: str
    default: Any
    help: str
    low: Number | None
    high: Number | None
    above: Number | None
    choices: tuple[str, ...]

    @property
    def range(self) -> str:
        """What the setting may be, in a few words: "0 to 1", "at least 3", "l1 | l2"."""
        if self.choices:
            return " | ".join(self.choices)
        if isinstance(self.default, bool):
            return "true | false"
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"at least {self.low:g}"
        if self.above is not None:
            return f"more than {self.above:g}"
        return {int: "a whole number", float: "a number"}.get(type(self.default), "text")


class Conditions(NamedTuple):
    """The conditions of a run that settings must suit, besides their ranges.

    Attributes:
        shape: sizes (k, j, i) of the working grid in voxels.
        labels, landmarks: whether both segmentations, both sets of landmarks are given.
        common_labels: whether both segmentations share a label, which takes a moment to compute.
    """

    shape: tuple[int, int, int]
    labels: bool = False
    landmarks: bool = False
    common_labels: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Settings:
    """The base of every settings class, and the settings of a method that has none.

    Raises:
        RegRefineError: a value is not one that its setting may take.
    """

    # the packages, besides RegRefine's own requirements, that the method imports: name -> install
    packages: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for each in described(type(self)):
            _check(each, getattr(self, each.name))

    def check(self, conditions: Conditions) -> None:
        """Raise RegRefineError where the settings do not fit the images or what comes with them."""

    def check_packages(self, method: str) -> None:
        """Raise RegRefineError where a package that the method needs is not installed."""
        for name, install in self.packages.items():
            if importlib.util.find_spec(name) is None:
                raise RegRefineError(f"{method} needs the package {install}")


@dataclass(frozen=True)
class NamedNetwork(Settings):
    """The settings by which a method names its network.

    Every further name is an option of the network's constructor, lists written as JSON.
    """

    # whether the network must be able to continue from a given field
    takes_field: ClassVar[bool] = False

    weights: str = setting(
        "", "weights: a model of `regrefine models list` or the path of a file; required"
    )
    network: str = setting(
        "", "the weights' network (`regrefine list networks`), where the file does not say it"
    )
    like: str = setting("", "a model whose preprocessing the weights of a file were trained with")


def described(kind: type[Any]) -> list[Setting]:
    """Return the settings of a class in the order of their declaration."""
    found = []
    for f in fields(kind):
        told = f.metadata
        limits = told.get("low"), told.get("high"), told.get("above"), told.get("choices", ())
        found.append(Setting(f.name, f.default, told.get("help", ""), *limits))
    return found


def read_settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return dataclass `kind` filled from `values`.

    Numbers given as text (from a command line) are converted to the type of the field's default.
    For a class that names a network, further names are left to the network's constructor.

    Raises:
        RegRefineError: an unknown name, or a value of the wrong kind or out of its range.
    """
    known = {each.name: each for each in described(kind)}
    strange = sorted(set(values) - set(known))
    if strange and not issubclass(kind, NamedNetwork):
        raise unknown("setting", strange[0], sorted(known))
    given = {name: value for name, value in values.items() if name in known}
    return kind(**{name: _convert(known[name], value) for name, value in given.items()})


def _convert(known: Setting, value: Any) -> Any:
    """Return the value as the type of the setting's default."""
    default = known.default
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[_text(value).lower()]
        if isinstance(default, (int, float)) and isinstance(value, bool):
            raise ValueError(value)
        if isinstance(default, int):
            number = float(value)
            if number != int(number):
                raise ValueError(value)
            return int(number)
        if isinstance(default, float):
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(value)
            return number
        text = _text(value)
    except (KeyError, OverflowError, TypeError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        wanted = kind.get(type(default), "another value")
        raise RegRefineError(f"setting {known.name}: {wanted} is needed, got {value!r}") from None
    return text.lower() if text.lower() in known.choices else text


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float, os.PathLike)):
        raise TypeError(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _check(known: Setting, value: Any) -> None:
    if known.choices and value not in known.choices:
        if len(known.choices) > 4:
            raise unknown(known.name, value, known.choices)
        words = " or ".join(known.choices)
        raise RegRefineError(f"setting {known.name}: {words} is needed, got {value!r}")
    low, high, above = known.low, known.high, known.above
    too_low = (low is not None and value < low) or (above is not None and value <= above)
    if too_low or (high is not None and value > high):
        raise RegRefineError(f"setting {known.name}: {known.range} is needed, got {value:g}")


class _PublicSettings(ModuleType):
    """This module as the package's public function `settings()`, whose name it shares."""

    def __call__(self, method: str | None = None) -> Any:
        """Return the settings of a refinement or start: name, default, help, range.

        Args:
            method: its name, such as pyramid; None: of all, in a dict by name.

        Raises:
            RegRefineError: no such method; the message offers the nearest ones.
        """
        from .registry import REFINEMENTS, STARTS, settings_class

        kinds = {name: "start" for name in STARTS} | {name: "refinement" for name in REFINEMENTS}
        if method is None:
            return {name: described(settings_class(kind, name)) for name, kind in kinds.items()}
        if method not in kinds:
            raise unknown("start or refinement", method, kinds)
        return described(settings_class(kinds[method], method))


sys.modules[__name__].__class__ = _PublicSettings
