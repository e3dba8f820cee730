"""A network that a run asks for: found in the registry, its weights loaded, its options read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import RegRefineError
from ..settings import read_settings
from ..weights.catalogue import Preprocessing, find_model
from ..weights.load import Loaded, load, preprocessing_of

T = TypeVar("T")


OWN = ("network", "weights", "like", "precision")


PRECISIONS = ("float32", "bfloat16")


def wanted(settings: Mapping[str, Any]) -> Preprocessing | None:
    """Return what the images must be like for the model that the settings name; None: unknown.

    Of use before the pair is made: its `intensity` is for the job.
    """
    like = settings.get("like")
    if like:
        return find_model(str(like)).preprocessing
    return preprocessing_of(str(settings.get("weights") or ""))


def load_named(settings: Mapping[str, Any]) -> Loaded:
    """Return the network that the settings name (see above), on the CPU and in evaluation mode."""
    weights = settings.get("weights")
    if not weights:
        raise RegRefineError(
            "start network: name its weights, a model (see `regrefine models list`) or the path "
            "of a file"
        )
    name, like = settings.get("network"), settings.get("like")
    return load(
        str(weights),
        str(name) if name else None,
        {key: option(value) for key, value in settings.items() if key not in OWN},
        find_model(str(like)).preprocessing if like else None,
    )


def split(kind: type[T], settings: Mapping[str, Any], refinement: str) -> tuple[T, Loaded]:
    """Return a refinement's own settings and the network that the rest of its settings name.

    Raises:
        RegRefineError: a setting is wrong, or the weights are not named or cannot be loaded.
    """
    own = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    options = read_settings(kind, {k: v for k, v in settings.items() if k in own})
    named = {k: v for k, v in settings.items() if k not in own}
    if not named.get("weights"):
        raise RegRefineError(
            f"refinement {refinement}: name the weights of its network in its settings "
            "(weights=...), a model or the path of a file, as for the network start"
        )
    return options, load_named(named)


def option(value: Any) -> Any:
    """Return a constructor option; text that is JSON is what it says."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
