"""regrefine apply TRANSFORM INPUT -o OUTPUT"""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import RegRefineError
from .terminal import say

LANDMARK_FILES = (".fcsv", ".mrk.json", ".csv")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("transform", metavar="TRANSFORM", help="a field or linear transform's file")
    parser.add_argument(
        "input", metavar="INPUT", help="moving image or labels, or landmarks of the fixed image"
    )
    parser.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="file to write")
    parser.add_argument("--reference", metavar="FILE", help="grid to write on; default the field's")
    parser.add_argument("--labels", action="store_true", help="INPUT is a label map")
    parser.add_argument(
        "--interpolation",
        choices=("linear", "nearest", "bspline"),
        default="linear",
        help="for images (labels are always nearest)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Move the input and write it.

    Volumes come onto the fixed grid; landmarks go the other way, from the fixed to the moving
    image, which is the direction a field is given in.
    """
    if str(arguments.input).lower().endswith(LANDMARK_FILES):
        _apply_to_landmarks(arguments)
    else:
        _apply_to_volume(arguments)
    say(arguments.output)
    return 0


def _reference(arguments: argparse.Namespace) -> Any:
    from ..io import volumes as files

    return None if arguments.reference is None else files.read_volume(arguments.reference).geometry


def _apply_to_volume(arguments: argparse.Namespace) -> None:
    from ..geometry import DisplacementField
    from ..io import volumes as files
    from ..io.transforms import read_transform
    from ..resample import resample

    grid = _reference(arguments)
    mapping = read_transform(arguments.transform, grid)
    if grid is None:
        if not isinstance(mapping, DisplacementField):
            raise RegRefineError(
                "--reference: a linear transform has no grid; name the fixed image"
            )
        grid = mapping.geometry
    if arguments.labels:
        source = files.read_labels(arguments.input)
        moved = resample(source.volume, grid, mapping, "nearest")
        files.write_labels(files.LabelMap(moved, source.names, source.colours), arguments.output)
    else:
        image = files.read_volume(arguments.input)
        files.write_volume(
            resample(image, grid, mapping, arguments.interpolation), arguments.output
        )


def _apply_to_landmarks(arguments: argparse.Namespace) -> None:
    from ..io.landmarks import read_landmarks, write_landmarks
    from ..io.transforms import read_transform

    names, points = read_landmarks(arguments.input)
    mapping = read_transform(arguments.transform, _reference(arguments))
    write_landmarks(names, moved_points(points, mapping), arguments.output)


def moved_points(points: Any, mapping: Any) -> Any:
    """Return the points (n, 3) in RAS mm through a field, a 4x4 or None (the identity)."""
    from ..geometry import DisplacementField

    if mapping is None:
        return points
    if isinstance(mapping, DisplacementField):
        return points + mapping.at(points)
    return points @ mapping[:3, :3].T + mapping[:3, 3]
