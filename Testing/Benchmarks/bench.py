"""Speed of the parts, each beside something to compare with in the same run.

    python Testing/Benchmarks/bench.py ttr-step [--threads 2] [--growth]

Seconds on shared machines mean little; the ratios are what is quoted.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from RegRefineLib import memory
from RegRefineLib.geometry import Geometry
from RegRefineLib.pair import Pair
from RegRefineLib.presets import PRESETS
from RegRefineLib.refine.reg_ttr import refine

SHAPE = (96, 80, 128)
SIZES = [(64, 64, 64), (96, 80, 128), (96, 96, 96), (128, 128, 128), (192, 160, 256)]


def random_pair(shape: tuple[int, int, int]) -> Pair:
    """Return two smooth random images in [0, 1] that differ by noise and a shift."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 1, *[max(2, n // 8) for n in shape]), generator=generator)
    fixed = F.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    moving = fixed.roll((1, 2, 1), (2, 3, 4)) + 0.02 * torch.rand(fixed.shape, generator=generator)
    geometry = Geometry.from_parts(shape, (1, 1, 1), torch.eye(3).numpy(), (0, 0, 0))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Pair(fixed.to(device), moving.clamp(0, 1).to(device), geometry)


def dense_step(fixed: Tensor, moving: Tensor, displacement: Tensor) -> dict[str, float]:
    """One Reg-TTR step with dense k^3 kernels and plain autograd: the oracle, as published."""
    parameter = displacement.clone().requires_grad_()
    optimiser = torch.optim.Adam([parameter], lr=0.1)
    shape = fixed.shape[2:]
    unit = torch.eye(3, 4, device=fixed.device)[None]
    grid = F.affine_grid(unit, (1, 1, *shape), align_corners=False)
    scale = torch.tensor([(n - 1) / 2 for n in shape], device=fixed.device)
    offset = (parameter.permute(0, 2, 3, 4, 1) / scale).flip(-1)
    moved = F.grid_sample(moving, grid + offset, align_corners=False)
    ncc = sum(w * _dense_ncc(fixed, moved, k) for k, w in ((5, 0.5), (9, 0.3), (13, 0.2)))
    steps = [parameter.diff(dim=d).abs().mean() for d in (2, 3, 4)]
    loss = ncc + 2 * (1 - _dense_ssim(fixed, moved)) + sum(steps) / 3
    loss.backward()
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    optimiser.step()
    return {"loss": float(loss.detach())}


def _dense_ncc(i: Tensor, j: Tensor, k: int) -> Tensor:
    kernel = torch.ones(1, 1, k, k, k, device=i.device)

    def sums(x: Tensor) -> Tensor:
        return F.conv3d(x, kernel, padding=k // 2)

    n = k**3
    si, sj, sii, sjj, sij = sums(i), sums(j), sums(i * i), sums(j * j), sums(i * j)
    cross = sij - si * sj / n
    return 1 - (cross**2 / ((sii - si**2 / n) * (sjj - sj**2 / n) + 1e-5)).mean()


def _dense_ssim(i: Tensor, j: Tensor) -> Tensor:
    x = torch.arange(-5, 6, device=i.device, dtype=torch.float32)
    g = torch.exp(-0.5 * (x / 1.5) ** 2)
    g = g / g.sum()
    kernel = torch.einsum("a,b,c->abc", g, g, g)[None, None]

    def mean(x: Tensor) -> Tensor:
        return F.conv3d(x, kernel, padding=5)

    mi, mj = mean(i), mean(j)
    vi, vj, c = mean(i * i) - mi**2, mean(j * j) - mj**2, mean(i * j) - mi * mj
    top = (2 * mi * mj + 1e-4) * (2 * c + 9e-4)
    return (top / ((mi**2 + mj**2 + 1e-4) * (vi + vj + 9e-4))).mean()


def ours(pair: Pair, steps: int) -> tuple[float, float]:
    """Return (median seconds per step, first loss) of the `released` preset."""
    stamps: list[float] = []
    losses: list[float] = []

    def report(progress: object) -> None:
        stamps.append(time.perf_counter())
        losses.append(progress.loss["total"])  # type: ignore[attr-defined]

    settings = {**PRESETS["reg-ttr-released"].values["settings"], "steps": steps, "patience": 0}
    refine(pair, pair.zero(), settings, report)
    return statistics.median(b - a for a, b in itertools.pairwise(stamps)), losses[0]


def peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ttr_step(arguments: argparse.Namespace) -> None:
    """Print the step beside the dense oracle; its last line is the ratio."""
    if arguments.growth:
        for shape in SIZES:
            one = [sys.executable, __file__, "ttr-step", "--one", *map(str, shape)]
            subprocess.run([*one, "--threads", str(arguments.threads)], check=True)
        return
    shape = tuple(arguments.one or SHAPE)
    memory.keep_freed_memory()
    pair = random_pair(shape)
    base = peak_mb()
    step_s, loss = ours(pair, 12)
    size = f"{'x'.join(map(str, shape)):12}"
    voxels = pair.geometry.voxel_count
    peak = f"{peak_mb():.0f} MB ({(peak_mb() - base) * 2**20 / voxels:.0f} B a voxel)"
    speed = f"{step_s * 1e3:9.1f} ms/step ({step_s / voxels * 1e9:.0f} ns a voxel)"
    print(f"{size} ours  {speed}  loss {loss:.6f}  peak {peak}")
    if arguments.one:
        return
    started = time.perf_counter()
    dense = dense_step(pair.fixed, pair.moving, pair.zero())
    dense_s = time.perf_counter() - started
    print(f"{size} dense {dense_s * 1e3:9.1f} ms/step  loss {dense['loss']:.6f}")
    print(f"{size} dense peak {peak_mb():.0f} MB")
    again_s, _ = ours(pair, 12)
    print(f"{size} ours again {again_s * 1e3:.1f} ms/step")
    print(f"ratio {dense_s / statistics.mean([step_s, again_s]):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("ttr-step", help="one Reg-TTR step beside dense kernels")
    step.add_argument("--threads", type=int, default=2)
    step.add_argument("--growth", action="store_true", help="time and memory from 64^3 up")
    step.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ttr_step(arguments)


if __name__ == "__main__":
    main()
