"""The network of a run: looked up in the registry, its weights loaded, its options read."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import RegRefineError
from ..settings import NamedNetwork, read_settings
from ..weights.catalogue import Preprocessing, find_model
from ..weights.load import Loaded, load, preprocessing_of

T = TypeVar("T", bound=NamedNetwork)
_NAMING = ("network", "weights", "like")


def wanted(settings: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing of the model that the settings name; None: unknown.

    It is needed before the pair is made: its `intensity` becomes the job's.
    """
    like = settings.get("like")
    if like:
        return find_model(str(like)).preprocessing
    return preprocessing_of(str(settings.get("weights") or ""))


def load_named(settings: Mapping[str, Any], own: Collection[str] = ()) -> Loaded:
    """Return the network that a method's settings name, on the CPU and in evaluation mode.

    Args:
        settings: weights, network and like (settings.NamedNetwork); `weights` may be the network
            itself, already loaded (plan.py does that). Every name that is not in `own` is an
            option of the network's constructor.

    Raises:
        RegRefineError: the weights are not named or cannot be loaded, or an option is unknown.
    """
    weights = settings.get("weights")
    if isinstance(weights, Loaded):
        return weights
    if not weights:
        raise RegRefineError(
            "name its weights with weights=..., a model (see `regrefine models list`) or the path "
            "of a file"
        )
    name, like = settings.get("network"), settings.get("like")
    return load(
        os.fspath(weights),
        str(name) if name else None,
        {k: option(v) for k, v in settings.items() if k not in own and k not in _NAMING},
        find_model(str(like)).preprocessing if like else None,
    )


def split(kind: type[T], settings: Mapping[str, Any], method: str) -> tuple[T, Loaded]:
    """Return a method's own settings and the network that its settings name.

    Args:
        kind: the method's settings class.
        method: what messages call it, such as "start network".

    Raises:
        RegRefineError: a setting is wrong, or the weights are not named, cannot be loaded, or are
            of a network that cannot do what the method needs.
    """
    own = {f.name for f in fields(kind)}
    stated = {k: v for k, v in settings.items() if k in own and k not in _NAMING}
    options = read_settings(kind, stated)
    try:
        loaded = load_named(settings, own)
    except RegRefineError as error:
        raise RegRefineError(f"{method}: {error}") from error
    if kind.takes_field and not loaded.network.recursive:
        raise RegRefineError(
            f"{method}: {loaded.source} is of {type(loaded.network).__name__}, which cannot take "
            "a field; name weights of firework-vm or firework-tm"
        )
    return options, loaded


def option(value: Any) -> Any:
    """Return a constructor option; text that is JSON is what it says."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
