"""One forward pass of every network: parameters, seconds, peak memory; a process each.

    python Testing/Benchmarks/networks.py [NAME...] [--shape 160 192 224] [--threads 1]

Weights are random: they change neither time nor memory. Recursive networks take one step. Seconds
are the process's (user and system) and the clock's. `--precision bfloat16` and `--channels-last`
try what inference could do otherwise. With --cuda the memory and the clock are the GPU's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from RegRefineLib import memory
from RegRefineLib.networks.base import autocast
from RegRefineLib.registry import NETWORKS
from RegRefineLib.weights.load import build

SHAPE = (160, 192, 224)
HEAD = "| network | parameters | size | CPU s | s | peak MB |\n|---|---|---|---|---|---|"
STEP = {"steps": 1}
FIRST: dict[str, dict[str, Any]] = {"firework-vm": STEP, "firework-tm": STEP}
# beside every row of the registry as it comes, or as FIRST says: what differs by its options
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("voxelmorph", {"int_steps": 7}),
    ("transmorph", {"size": "tiny"}),
    ("transmorph", {"size": "small"}),
    ("transmorph", {"size": "large"}),
]


def measure(arguments: argparse.Namespace) -> None:
    """Print one row, or why there is none."""
    name, options = arguments.names[0], json.loads(arguments.options)
    if not arguments.cuda:
        limit = int(arguments.limit_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.manual_seed(0)
    device = "cuda" if arguments.cuda else "cpu"
    network = build(name, options).eval().to(device)
    shape = network.fitting(tuple(arguments.shape))
    images = [torch.rand(1, 1, *shape, device=device) for _ in range(2)]
    if arguments.channels_last:
        network = network.to(memory_format=torch.channels_last_3d)
        images = [image.to(memory_format=torch.channels_last_3d) for image in images]
    memory.start_counting(device)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    try:
        with torch.no_grad(), autocast(torch.device(device), arguments.precision):
            network(*images)
        if arguments.cuda:
            torch.cuda.synchronize()
        spent_cpu, spent = time.process_time() - begun_cpu, time.perf_counter() - begun
        metrics = f"{spent_cpu:.3g} | {spent:.3g} | {memory.peak_mb(device):.0f}"
    except (MemoryError, RuntimeError) as error:
        if not memory.is_out_of_memory(error):
            raise
        metrics = f"- | - | over {arguments.limit_gb * 1024:.0f}"
    count = sum(p.numel() for p in network.parameters())
    sizes = "x".join(map(str, images[0].shape[2:]))
    label = " ".join([name, *(f"{k}={v}" for k, v in options.items())])
    print(f"| {label} | {count:,} | {sizes} | {metrics} |", flush=True)


def every(arguments: argparse.Namespace) -> None:
    """Measure one network after the other, each in a process of its own."""
    print(HEAD, flush=True)
    names = arguments.names or NETWORKS
    cases = [(name, FIRST.get(name, {})) for name in names] + [v for v in VARIANTS if v[0] in names]
    flags = ["--threads", str(arguments.threads), "--limit-gb", str(arguments.limit_gb)]
    flags += ["--precision", arguments.precision, "--shape", *map(str, arguments.shape)]
    flags += ["--cuda"] if arguments.cuda else []
    flags += ["--channels-last"] if arguments.channels_last else []
    for name, options in sorted(cases, key=lambda case: case[0]):
        one = [sys.executable, __file__, name, "--one", "--options", json.dumps(options), *flags]
        if subprocess.run(one, check=False).returncode:
            print(f"| {name} | failed |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--shape", type=int, nargs=3, default=list(SHAPE))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit-gb", type=float, default=9.0, help="of memory; more is refused")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--options", default="{}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measure(arguments) if arguments.one else every(arguments)


if __name__ == "__main__":
    main()
