"""A network's field as the start: weights by name or path, one pass on the grid they require.

Its settings are those of starts.settings.Network; every further name is an option of the network's
constructor, lists written as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inference.grid import NetworkGrid, network_grid
from ..inference.load import split
from ..job import Progress
from ..memory import is_out_of_memory
from ..networks.base import autocast
from ..pair import Pair, Report
from ..weights.catalogue import Preprocessing
from ..weights.load import Loaded
from .settings import Network

COARSEST_MM = 4.0  # networks are not run on larger voxels when memory is short


def predict(pair: Pair, settings: Mapping[str, Any], report: Report) -> Tensor:
    """Return the network's displacement (1, 3, D, H, W) in voxels of the pair's grid.

    Raises:
        RegRefineError: no weights are named, they cannot be loaded (see weights.load), or a
            setting is wrong.
    """
    options, loaded = split(Network, settings, "start network")
    network = loaded.network.to(pair.device)
    if options.precision == "bfloat16" and pair.device.type == "cpu":
        said = "bfloat16 is for GPUs; most CPUs take far longer with it than with float32"
        report(Progress("start", message=said, warning=True))
    preprocessing = loaded.preprocessing
    while True:
        grid = network_grid(pair.geometry, preprocessing, network)
        report(Progress("start", message=_sentence(loaded, pair, grid)))
        try:
            moving, fixed = grid.both(pair)
            with torch.no_grad(), autocast(pair.device, options.precision):
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
            size of its own, so that a coarser working grid helps (plan.smaller_job).
    """
    spacing = preprocessing.spacing_mm
    if not is_out_of_memory(error) or spacing is None or 2 * spacing > COARSEST_MM:
        raise error
    return replace(preprocessing, spacing_mm=2 * spacing)


def _sentence(loaded: Loaded, pair: Pair, grid: NetworkGrid) -> str:
    padded = [n + sum(m) for n, m in zip(grid.size, grid.margin, strict=True)]
    sizes = " x ".join(str(n) for n in padded)
    return f"{type(loaded.network).__name__} from {loaded.source} on {sizes} voxels"
