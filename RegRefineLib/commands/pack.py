"""regrefine pack FILE [--labels FILE ...] [--images FILE ...]"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..job import INTENSITIES
from .terminal import Bar, say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", help="to write, .npz; `regrefine train --pack` it")
    parser.add_argument("--labels", nargs="+", default=[], metavar="FILE", help="label maps")
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="FILE", help="scans, in the maps' order"
    )
    parser.add_argument("--kind", choices=("any", "brain"), default="any",
                        help="brain: heads with FreeSurfer's numbers, stripped")  # fmt: skip
    parser.add_argument("--align", action="store_true", help="all onto the first, by affine maps")
    parser.add_argument("--shape", nargs=3, type=int, default=(96, 96, 96), metavar=("D", "H", "W"),
                        help="voxels along S, A, R (96 96 96)")  # fmt: skip
    parser.add_argument("--spacing", type=float, default=2.0, metavar="MM", help="(2)")
    parser.add_argument("--intensity", choices=INTENSITIES, default="minmax", help="of the scans")


def run(arguments: argparse.Namespace) -> int:
    """Write the pack, and say how large it is."""
    from ..training.datasets import Grid
    from ..training.pack import Packing, pack

    grid = Grid(tuple(arguments.shape), arguments.spacing)
    how = Packing(grid, arguments.kind, arguments.align, arguments.intensity)
    bar = Bar()
    try:
        packed = pack(arguments.labels, arguments.images, how, bar)
    finally:
        bar.close()
    packed.save(arguments.file)
    size = Path(arguments.file).stat().st_size / 1e6
    say(f"{arguments.file}: {len(packed.labels)} label maps, {len(packed.images)} scans, "
        f"{size:.1f} MB")  # fmt: skip
    return 0
