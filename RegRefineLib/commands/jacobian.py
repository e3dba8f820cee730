"""regrefine jacobian TRANSFORM -o OUTPUT: how much a mapping swells and shrinks each voxel."""

from __future__ import annotations

import argparse

import numpy as np

from ..errors import RegRefineError
from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "transforms", metavar="TRANSFORM", nargs="+", help="transform files, as `apply` takes them"
    )
    parser.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="image to write")
    parser.add_argument("--reference", metavar="FILE", help="the fixed image: the grid to write on")
    parser.add_argument("--moving", metavar="FILE", help="the moving image, for FSL's transforms")
    parser.add_argument(
        "--log", action="store_true", help="the natural logarithm; folds become the lowest value"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the determinant of d(x + u(x))/dx on the fixed grid: 1 (or 0 by --log) for no change.

    Derivatives are central, one-sided on the faces.
    """
    from ..geometry import Volume
    from ..io.images import geometry_of_file
    from ..io.notices import notice
    from ..io.transforms import Grids, read_chain
    from ..io.volumes import write_volume
    from ..metrics.jacobian import of_field

    fixed, moving = (
        geometry_of_file(path) if path else None for path in (arguments.reference, arguments.moving)
    )
    chain = read_chain(arguments.transforms, Grids(fixed, moving))
    grid = fixed or chain.grid
    if grid is None:
        raise RegRefineError(
            "--reference: this transform has no grid of its own; name the fixed image"
        )
    determinants = of_field(chain.on(grid)).astype(np.float32)
    if arguments.log:
        folded = determinants <= 0
        lowest = float(determinants[~folded].min(initial=1.0))
        if folded.any():
            notice(
                f"{int(folded.sum())} voxels fold (a determinant of 0 or less has no logarithm); "
                f"they are written as {np.log(lowest):.3g}, the lowest value"
            )
        determinants = np.log(np.where(folded, lowest, determinants), dtype=np.float32)
    write_volume(Volume(determinants, grid), arguments.output)
    say(arguments.output)
    return 0
