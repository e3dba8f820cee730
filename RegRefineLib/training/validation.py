"""Accuracy of a network on pairs outside its training set: Dice and folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..metrics.jacobian import determinant, folds_percent
from ..metrics.overlap import count_labels, dice, mean
from ..networks.base import RegistrationNetwork
from ..ops.warp import warp
from .convolution import quick_convolutions
from .source import Sample


@torch.no_grad()
def validate(
    network: RegistrationNetwork, samples: Sequence[Sample], count: int
) -> dict[str, float]:
    """Return validation_dice and validation_folds_percent, means over the pairs.

    Args:
        count: stages (see RegistrationNetwork.stages); the last field is judged.
    """
    metrics: dict[str, list[float]] = {"validation_dice": [], "validation_folds_percent": []}
    device = next(network.parameters()).device
    for sample in samples:
        moving, fixed = sample.moving.to(device), sample.fixed.to(device)
        with quick_convolutions(device):
            displacement = network.stages(moving, fixed, count)[-1]
        array = displacement[0].double().cpu().numpy()
        metrics["validation_folds_percent"].append(folds_percent(determinant(array)))
        if sample.moving_labels is not None and sample.fixed_labels is not None:
            labels = sample.moving_labels.to(displacement)
            moved = warp(labels, displacement, mode="nearest")
            maps = (sample.fixed_labels, moved)
            fixed_map, moved_map = (m[0, 0].cpu().numpy().astype(np.int64) for m in maps)
            metrics["validation_dice"].append(mean(dice(count_labels(fixed_map, moved_map))))
    return {name: float(np.mean(values)) for name, values in metrics.items() if values}
