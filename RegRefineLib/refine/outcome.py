"""What every refinement returns, and how it reads its settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from torch import Tensor

from ..job import RegRefineError
from ..pair import Pair
from ..warp import warp

T = TypeVar("T")


def compared(pair: Pair, displacement: Tensor) -> Tensor | None:
    """Return the weights (1, 1, D, H, W) of the voxels where both images count, None: everywhere.

    The moving image's mask is seen through `displacement`, the start, once for all.
    """
    masks = [] if pair.fixed_mask is None else [pair.fixed_mask]
    if pair.moving_mask is not None:
        masks.append(warp(pair.moving_mask, displacement.detach()))
    return math.prod(masks[1:], start=masks[0]) if masks else None


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined displacement (1, 3, D, H, W) in voxels and one record per step.

    `remarks` are sentences that a reader of the result must know.
    """

    displacement: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    stopped_because: str = ""
    remarks: tuple[str, ...] = ()


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
