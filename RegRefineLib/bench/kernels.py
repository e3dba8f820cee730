"""Run times of each operation in torch and compiled form, relative to copying the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.door import SWITCH, available
from ..losses.mutual_information import mutual_information
from ..losses.ncc import LocalNCC, multi_window_terms
from ..losses.ssim import SSIM
from ..losses.windowed import WindowedSimilarity
from ..ops.filters import gaussian, window_sum
from ..ops.force import compositive_force, limited
from ..ops.warp import compose, jacobian_determinant, warp

SIZES = ((48, 48, 48), (96, 80, 128), (160, 192, 224))
REPEATS = 3


@dataclass(frozen=True)
class Row:
    """Nanoseconds of CPU time per voxel: the best of several repeats.

    Attributes:
        volumes: the minimum that the operation reads and writes, which `copy` copies.
    """

    operation: str
    shape: tuple[int, int, int]
    volumes: int
    torch_ns: float
    compiled_ns: float | None
    copy_ns: float

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        compiled = "-" if self.compiled_ns is None else f"{self.compiled_ns:.2f}"
        distance = "-" if self.compiled_ns is None else f"{self.compiled_ns / self.copy_ns:.1f}"
        return (
            f"| {self.operation} | {size} | {self.torch_ns:.2f} | {compiled} | {self.copy_ns:.2f} "
            f"| {distance} |"
        )


HEAD = (
    "| operation | voxels | torch ns | compiled ns | copy ns | compiled : copy |\n"
    "|---|---|---|---|---|---|"
)


def rows(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> Iterator[Row]:
    """Yield a row for each operation and size; threads are torch's."""
    for shape in sizes:
        for name, volumes, run in _operations(shape):
            yield Row(
                name,
                shape,
                volumes,
                _ns(run, shape, "0"),
                _ns(run, shape, "1") if available() else None,
                _copy_ns(shape, volumes),
            )


def _operations(shape: tuple[int, int, int]) -> list[tuple[str, int, Callable[[], object]]]:
    """Return name, volumes read and written, and call of each operation."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int) -> Tensor:
        coarse = torch.rand((1, channels, *[n // 8 for n in shape]), generator=generator)
        return torch.nn.functional.interpolate(coarse, shape, mode="trilinear")

    fixed, moving, field = smooth(1), smooth(1), 4 * smooth(3) - 2
    small, metric = 0.2 * field, torch.ones(1, 3, 1, 1, 1)
    ncc = WindowedSimilarity(fixed, [(1.0, LocalNCC(7))], zeros_beyond=False)
    ttr = WindowedSimilarity(fixed, [*multi_window_terms(), (2.0, SSIM())])

    def slope(loss: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        def run() -> object:
            x = moving.clone().requires_grad_()
            return torch.autograd.grad(loss(x), x)

        return run

    return [
        ("image through a field", 5, lambda: warp(moving, field, padding="border")),
        ("labels through a field", 5, lambda: warp(moving, field, mode="nearest")),
        ("composition", 9, lambda: compose(field, small)),
        ("Gaussian, sigma 1, of a field", 6, lambda: window_sum(field, gaussian(1.0))),
        ("local correlation 7^3 with gradient", 3, slope(ncc)),
        ("Reg-TTR's similarities with gradient", 3, slope(ttr)),
        ("information with gradient", 3, slope(lambda x: mutual_information(fixed, x))),
        ("force", 5, lambda: compositive_force(moving, fixed, metric)),
        ("limited step", 6, lambda: limited(field, 0.7)),
        ("determinant", 4, lambda: jacobian_determinant(field)),
    ]


def _ns(run: Callable[[], object], shape: tuple[int, int, int], switch: str) -> float:
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = switch
    try:
        return _best(run) / (shape[0] * shape[1] * shape[2])
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


def _copy_ns(shape: tuple[int, int, int], volumes: int) -> float:
    """Return what copying takes that reads and writes as many volumes."""
    source = torch.rand((max(1, round(volumes / 2)), *shape))
    target = torch.empty_like(source)
    scale = volumes / 2 / len(source)
    return scale * _best(lambda: target.copy_(source)) / (shape[0] * shape[1] * shape[2])


def _best(run: Callable[[], object]) -> float:
    """Return the least nanoseconds of CPU time; the first call, which may compile, not counted."""
    run()
    found = float("inf")
    for _ in range(REPEATS):
        began = time.process_time_ns()
        run()
        found = min(found, float(time.process_time_ns() - began))
    return found
