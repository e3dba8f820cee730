"""regrefine apply TRANSFORM [TRANSFORM ...] INPUT -o OUTPUT"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import RegRefineError
from .terminal import say

if TYPE_CHECKING:
    from ..geometry import Geometry, Volume
    from ..mapping import Chain

INTERPOLATIONS = ("linear", "nearest", "bspline", "sinc")
POINTS_OF = ("fixed", "moving")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "transforms",
        metavar="TRANSFORM",
        nargs="+",
        help="transform files in the order in which fixed points pass them (that of Greedy -r and "
        "antsApplyTransforms -t); FILE,-1 or [FILE,1] is inverted; KIND:FILE names a kind",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="what to move: an image (3-D, 4-D, of vectors or colours), labels, landmarks, a model",
    )
    parser.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="file to write")
    parser.add_argument(
        "--reference",
        "--like",
        metavar="FILE",
        help="the fixed image: grid to write on; default the field's",
    )
    parser.add_argument(
        "--moving", metavar="FILE", help="the moving image, for FSL's transforms; default INPUT"
    )
    parser.add_argument(
        "--spacing", type=float, nargs="+", metavar="MM", help="voxels of this size instead"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--labels", action="store_true", help="INPUT is a label map")
    kind.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        help="default linear, and nearest for label maps, which are known by their contents",
    )
    parser.add_argument(
        "--outside", type=float, metavar="VALUE", help="beyond the input; default its lowest value"
    )
    parser.add_argument(
        "--points-of",
        choices=POINTS_OF,
        default="fixed",
        help="which image landmarks and models belong to; the moving one's go through the inverse",
    )


def run(arguments: argparse.Namespace) -> int:
    """Move the input and write it.

    Volumes come onto the fixed grid; landmarks and models go from the fixed to the moving image,
    which is the direction a field is given in, or back.
    """
    from ..io import landmarks, models

    name = str(arguments.input).lower()
    if name.endswith(landmarks.ENDINGS):
        _apply_to_landmarks(arguments)
    elif name.endswith(models.ENDINGS):
        _apply_to_model(arguments)
    else:
        _apply_to_image(arguments)
    say(arguments.output)
    return 0


def _chain(arguments: argparse.Namespace, moving: Geometry | None = None) -> tuple[Chain, Any]:
    """Return the transforms as one mapping, and the reference's grid (None: not given)."""
    from ..io.images import geometry_of_file
    from ..io.transforms import Grids, read_chain

    reference = geometry_of_file(arguments.reference) if arguments.reference else None
    moving = geometry_of_file(arguments.moving) if arguments.moving else moving
    return read_chain(arguments.transforms, Grids(reference, moving)), reference


def _apply_to_image(arguments: argparse.Namespace) -> None:
    from ..io import label_guess, volumes

    layers = None
    said = arguments.labels or label_guess.says_labels(arguments.input)
    if said and arguments.interpolation in (None, "nearest"):
        layers = volumes.read_label_layers(arguments.input)
    frames = None if layers else volumes.read_frames(arguments.input)
    if frames and not arguments.interpolation and label_guess.looks_like_labels(frames):
        label_guess.say(arguments.input)
        layers = volumes.read_label_layers(arguments.input)
    source = layers[0].volume if layers else frames.volumes[0]  # type: ignore[union-attr]
    chain, reference = _chain(arguments, source.geometry)
    grid = _grid(chain, reference, arguments.spacing)
    if layers:
        _write_labels(arguments, layers, chain, grid)
    else:
        _write_frames(arguments, frames, chain, grid)


def _write_labels(arguments: argparse.Namespace, layers: Any, chain: Chain, grid: Geometry) -> None:
    from ..io import volumes
    from ..resample import resample_labels

    mapping = chain.for_resampling(grid)
    outside = 0 if arguments.outside is None else int(arguments.outside)
    moved = [
        volumes.LabelMap(
            resample_labels(each.volume, grid, mapping, outside), each.names, each.colours
        )
        for each in layers
    ]
    volumes.write_labels(moved, arguments.output)


def _write_frames(arguments: argparse.Namespace, frames: Any, chain: Chain, grid: Geometry) -> None:
    from ..io import volumes
    from ..resample import as_type, resample

    mapping, how = chain.for_resampling(grid), arguments.interpolation or "linear"

    def moved(volume: Volume) -> Volume:
        lowest = float(volume.array.min())
        outside = lowest if arguments.outside is None else arguments.outside
        return as_type(resample(volume, grid, mapping, how, outside), volume.array.dtype)

    volumes.write_frames(
        volumes.Frames(tuple(moved(v) for v in frames.volumes), frames.kind), arguments.output
    )


def _grid(chain: Chain, reference: Geometry | None, spacing: list[float] | None) -> Geometry:
    """Return the grid to write on.

    Raises:
        RegRefineError: none is known; a spacing that is none.
    """
    grid = reference or chain.grid
    if grid is None:
        raise RegRefineError(
            "--reference: this transform has no grid of its own; name the fixed image"
        )
    if spacing is None:
        return grid
    if len(spacing) not in (1, 3) or not all(1e-4 < mm < 1e3 for mm in spacing):
        raise RegRefineError(f"--spacing: one or three sizes in mm are needed, got {spacing}")
    mm = (spacing * 3)[:3]
    shape = tuple(
        max(1, round(n * float(edge) / new))
        for n, edge, new in zip(grid.shape, grid.spacing[::-1], mm[::-1], strict=True)
    )
    return grid.with_spacing(shape, mm)  # type: ignore[arg-type]


def _apply_to_landmarks(arguments: argparse.Namespace) -> None:
    from ..io.landmarks import read_landmarks, write_landmarks

    names, points = read_landmarks(arguments.input)
    write_landmarks(names, _moved(arguments, points), arguments.output)


def _apply_to_model(arguments: argparse.Namespace) -> None:
    from ..io.models import ENDINGS, read_model, write_model

    kinds = [e for e in ENDINGS if str(arguments.input).lower().endswith(e)]
    if not str(arguments.output).lower().endswith(tuple(kinds)):
        raise RegRefineError(f"{arguments.output}: a {kinds[0]} model is written as {kinds[0]}")
    model = read_model(arguments.input)
    write_model(model, _moved(arguments, model.points), arguments.output)


def _moved(arguments: argparse.Namespace, points: Any) -> Any:
    chain, _ = _chain(arguments)
    return (chain if arguments.points_of == "fixed" else chain.inverse()).points(points)
