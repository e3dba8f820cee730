"""MemWarp, discontinuity through learnt memory filters (Zhang et al., MICCAI 2024).

The pyramid of lapwarp.py with different heads: on the three finest levels the flow is the product
of the features with filters that are recalled, voxel by voxel, for the most likely tissue in the
fixed image. Each tissue has its own filters, so that the field may slide where tissues meet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Shapes
from .blocks.initial_weights import flow_head
from .lapwarp import Conv, Pyramid

TEMPERATURE = 0.1


class _Filters(nn.Module):
    """One filter of 3 x `channels` entries per memory slot, and how well each fits a voxel."""

    def __init__(self, channels: int, slots: int, hidden: int) -> None:
        super().__init__()
        self.generate_filters = nn.Sequential(
            nn.Linear(slots, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * hidden),
            nn.ReLU(),
            nn.Linear(2 * hidden, 3 * channels),
        )
        self.mapping_feas = nn.Sequential(
            Conv(channels, channels), nn.Conv3d(channels, 3 * channels, 1)
        )
        self.one_hot: Tensor
        self.register_buffer("one_hot", torch.eye(slots), persistent=False)

    def forward(self, still: Tensor) -> tuple[Tensor, Tensor]:
        """Return filters (slots, 3 * channels) of norm 1 and logits (N, slots, D, H, W).

        The key of a voxel is never made: its product with the filters is one convolution with the
        product of the weights.
        """
        filters = F.normalize(self.generate_filters(self.one_hot), dim=1)
        features, key = self.mapping_feas
        weight = filters @ key.get_parameter("weight").flatten(1)
        bias = filters @ key.get_parameter("bias")
        logits = F.conv3d(features(still), weight[:, :, None, None, None], bias)
        return filters, logits


class _Memory(nn.Module):
    """The flow that the recalled filters give, mixed with a plain one where recall is unsure."""

    def __init__(self, channels: int, slots: int, hidden: int) -> None:
        super().__init__()
        self.get_memory_filters = _Filters(channels, slots, hidden)
        self.flow = flow_head(channels)

    def forward(self, given: Tensor, still: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return flow (N, 3, ...), logits (N, slots, ...) and filters (slots, 3 * channels)."""
        filters, logits = self.get_memory_filters(still)
        slots, channels = len(filters), given.shape[1]
        scores = F.log_softmax(logits / TEMPERATURE, dim=1)
        share = scores.exp()
        sure = 1 + (share * scores).sum(1, keepdim=True) / math.log(slots)
        each = F.conv3d(given, filters.view(3 * slots, channels, 1, 1, 1))
        recalled = (each.unflatten(1, (slots, 3)) * share[:, :, None]).sum(1)
        return sure * recalled + (1 - sure) * self.flow(given), logits, filters


class MemWarp(Pyramid):
    """The pyramid with a memory; 47,779,013 parameters by default.

    Args:
        start_channel: features of the first level.
        large_kernel: size of the largest of the parallel convolutions.
        slots: memories, one per tissue.
        hidden: width of the layers that write the filters.
    """

    def __init__(
        self,
        start_channel: int = 32,
        large_kernel: Sequence[int] = (5, 5, 5),
        slots: int = 4,
        hidden: int = 1024,
    ) -> None:
        features = 2 * start_channel
        super().__init__(start_channel, large_kernel, [features] * 3 + [3, 3])
        self.mem_warp = _Memory(features, slots, hidden)

    @classmethod
    def infer(cls, shapes: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a file's shapes show."""
        found = super().infer(shapes, config)
        first = shapes.get("mem_warp.get_memory_filters.generate_filters.0.weight")
        return {**found, "hidden": first[0], "slots": first[1]} if first else found

    def fields(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return the pyramid's, `logits_level{L}` per tissue (N, slots, ...) and `mem_filters`."""
        return super().fields(moving, fixed)

    def _flow(self, level: int, given: Tensor, still: Tensor, found: dict[str, Tensor]) -> Tensor:
        if level > 2:
            return given
        flow, found[f"logits_level{level}"], found["mem_filters"] = self.mem_warp(given, still)
        return flow
