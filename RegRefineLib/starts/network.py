"""A network's field as the start: weights by name or path, the grid they want, one pass.

Settings: `network` (a row of registry.NETWORKS), `weights` (a model's name or a file's path),
`like` (a model whose preprocessing a file of one's own was trained with), `precision` (float32, or
bfloat16 for the convolutions alone); every other setting is an option of the network's constructor,
lists written as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..job import Progress, RegRefineError
from ..memory import is_out_of_memory
from ..pair import Pair, Report
from ..refine.outcome import read_settings
from ..weights.catalogue import Preprocessing, find_model
from ..weights.load import Loaded, load, preprocessing_of
from .network_grid import NetworkGrid, network_grid

T = TypeVar("T")
OWN = ("network", "weights", "like", "precision")
PRECISIONS = ("float32", "bfloat16")
COARSEST_MM = 4.0  # no network is asked on larger voxels when memory is short


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the network's displacement (1, 3, D, H, W) in voxels of the pair's grid.

    Raises:
        RegRefineError: no weights are named, they cannot be loaded (see weights.load), or a
            setting is wrong.
    """
    loaded = load_named(settings)
    precision = str(settings.get("precision", PRECISIONS[0]))
    if precision not in PRECISIONS:
        raise RegRefineError(f"precision: one of {', '.join(PRECISIONS)}, got {precision!r}")
    network = loaded.network.to(pair.device)
    half = precision == "bfloat16"
    low = torch.autocast(pair.device.type, torch.bfloat16) if half else nullcontext()
    if half and pair.device.type == "cpu":
        said = "bfloat16 is for GPUs; most CPUs take far longer with it than with float32"
        report(Progress("start", message=said, warning=True))
    preprocessing = loaded.preprocessing
    while True:
        grid = network_grid(
            pair.geometry,
            preprocessing,
            getattr(network, "stride", 1),
            getattr(network, "minimum", 1),
        )
        report(Progress("start", message=_sentence(loaded, pair, grid)))
        try:
            moving, fixed = grid.both(pair)
            with torch.no_grad(), low:
                found: Tensor = network(moving, fixed)
            return grid.displacement(found.to(pair.fixed.dtype))
        except (MemoryError, RuntimeError) as error:
            preprocessing = _coarser(preprocessing, error)
        said = f"memory ran out in the network; trying {preprocessing.spacing_mm:g} mm voxels"
        report(Progress("start", message=said, warning=True))


def _coarser(preprocessing: Preprocessing, error: Exception) -> Preprocessing:
    """Return the preprocessing with voxels twice as large.

    Raises:
        Exception: `error` itself, where it is not about memory, or where the network has no voxel
            size of its own, so that a coarser working grid helps (memory.next_rung).
    """
    spacing = preprocessing.spacing_mm
    if not is_out_of_memory(error) or spacing is None or 2 * spacing > COARSEST_MM:
        raise error
    return replace(preprocessing, spacing_mm=2 * spacing)


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
            "backbone network: name its weights, a model (see `regrefine models list`) or the path "
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


def _sentence(loaded: Loaded, pair: Pair, grid: NetworkGrid) -> str:
    padded = [n + sum(m) for n, m in zip(grid.size, grid.margin, strict=True)]
    sizes = " x ".join(str(n) for n in padded)
    return f"{type(loaded.network).__name__} from {loaded.source} on {sizes} voxels"
