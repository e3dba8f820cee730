"""From a model's name or a file's path to a network that is ready to run.

Downloading published files is in store.py; reading the file formats is in checkpoint.py.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import RegRefineError
from ..io.paths import present
from ..networks.base import RegistrationNetwork
from ..registry import find
from .catalogue import Preprocessing, catalogue, find_model, local_file, recognised
from .checkpoint import Checkpoint, description, fit, read
from .store import sha256, verify


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network with its weights, in evaluation mode, and the preprocessing it requires."""

    network: RegistrationNetwork
    preprocessing: Preprocessing
    source: str


def load(
    weights: str,
    network: str | None = None,
    options: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Loaded:
    """Return a network with the weights of a model's name or of a file's path.

    Args:
        weights: a name in models.json, or a path.
        network: the registry's name; not needed for a model, or for a file that states it or is
            recognised by its hash.
        options: constructor options that win over the model's, the file's and its shapes'.
        preprocessing: wins over the model's and the file's.

    Raises:
        RegRefineError: no such model or file, the model is not on this machine, the file is
            damaged, altered, of another network or of a newer version.
    """
    path, models = locate(weights), catalogue()
    if weights in models:
        model = models[weights]
        verify(weights)
        given = {**model.options, **(options or {})}
        return _load(path, network or model.network, given, preprocessing or model.preprocessing)
    known = recognised(sha256(path))
    if known is None or network not in (None, known.network):
        return _load(path, network, options or {}, preprocessing)
    given = {**known.options, **(options or {})}
    return _load(path, known.network, given, preprocessing or known.preprocessing)


def locate(weights: str) -> Path:
    """Return where the file of a model's name or of a path lies, without opening it.

    Raises:
        RegRefineError: no such model or file, or the model is not on this machine.
    """
    model = catalogue().get(weights)
    if model is None:
        if Path(weights).suffix == "" and not Path(weights).exists():
            find_model(weights)  # a name rather than a path: say which names there are
        return present(weights)
    path = local_file(model)
    if path is None:
        way = f"get it with `regrefine models fetch {weights}`"
        if model.url is None:
            way = f"take it from {model.page} and give the file's path"
        raise RegRefineError(f"model {weights}: is not on this machine; {way}")
    return path


def _load(
    path: Path,
    network: str | None,
    options: Mapping[str, Any],
    preprocessing: Preprocessing | None,
) -> Loaded:
    checkpoint = read(path)
    stated = _stated(path, checkpoint.metadata)
    name = network or stated.get("network")
    if name is None:
        raise RegRefineError(f"{path}: does not say which network it is of; name the network")
    inferred = _inferred(kind_of(name), checkpoint)
    built = build(name, {**inferred, **stated.get("options", {}), **options})
    fit(built, checkpoint.state, path)
    if preprocessing is None:
        preprocessing = Preprocessing.from_json(stated.get("preprocessing", {}))
    return Loaded(built.eval(), preprocessing, str(path))


def preprocessing_of(weights: str) -> Preprocessing | None:
    """Return the preprocessing for a model's name or a file's path; None if none is stated.

    Reads no weights, and leaves the detection of errors in them to `load`.
    """
    models = catalogue()
    if weights in models:
        return models[weights].preprocessing
    path = Path(weights)
    if not path.is_file():
        return None
    known = recognised(sha256(path))
    if known is not None:
        return known.preprocessing
    stated = _stated(path, description(path)).get("preprocessing")
    return None if stated is None else Preprocessing.from_json(stated)


def _stated(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the description that one of our own files contains."""
    if "regrefine" not in metadata:
        return {}
    try:
        keys = [key for key in ("options", "preprocessing") if key in metadata]
        more: dict[str, Any] = {key: json.loads(metadata[key]) for key in keys}
        return {"network": metadata["network"], **more}
    except (ValueError, KeyError) as error:
        raise RegRefineError(f"{path}: its description is damaged ({error})") from error


def _inferred(kind: type[RegistrationNetwork], checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the options that the names and shapes of a file's tensors reveal, if any do."""
    shapes = {name: tuple(t.shape) for name, t in kind.rename(checkpoint.state).items()}
    try:
        found = kind.infer(shapes, checkpoint.config)
    except (KeyError, IndexError, StopIteration):  # another network's names; `fit` will say so
        return {}
    return {option: value for option, value in found.items() if value not in ([], ())}


def kind_of(name: str) -> type[RegistrationNetwork]:
    """Return the class of a registry row.

    Raises:
        RegRefineError: no such network.
    """
    kind: Any = find("network", name)
    return cast(type[RegistrationNetwork], kind)


def build(name: str, options: Mapping[str, Any]) -> RegistrationNetwork:
    """Return the network of a registry row with constructor options and initial weights.

    Raises:
        RegRefineError: no such network, an unknown option, or one of the wrong kind.
    """
    kind = kind_of(name)
    known = [p for p in inspect.signature(kind).parameters]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise RegRefineError(
            f"network {name}: unknown option {', '.join(unknown)}; known: {', '.join(known)}"
        )
    try:
        built: RegistrationNetwork = kind(**options)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise RegRefineError(
            f"network {name}: options {dict(options)} do not work: {error}"
        ) from error
    return built
