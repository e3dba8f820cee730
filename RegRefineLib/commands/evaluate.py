"""regrefine evaluate: figures of label maps, images, landmarks and fields."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ..job import RegRefineError
from .terminal import mean_of, say, show_table, table


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--fixed-labels", metavar="FILE", help="label map of the fixed image")
    parser.add_argument("--moving-labels", metavar="FILE", help="label map to compare with it")
    parser.add_argument("--fixed", metavar="FILE", help="fixed image, for the correlation")
    parser.add_argument("--moving", metavar="FILE", help="image to compare with it")
    parser.add_argument("--fixed-landmarks", metavar="FILE")
    parser.add_argument("--moving-landmarks", metavar="FILE")
    parser.add_argument(
        "--transform", metavar="FILE", help="move the moving ones through this first; judge it too"
    )
    parser.add_argument("--labels", type=int, nargs="+", metavar="N", help="only these labels")
    parser.add_argument("--json", action="store_true", help="all figures as JSON, per label")


def run(arguments: argparse.Namespace) -> int:
    """Compute the figures that the given files allow, and show them."""
    figures = _figures(arguments)
    if not figures:
        raise RegRefineError(
            "nothing to evaluate: give --fixed-labels and --moving-labels, --fixed and --moving, "
            "landmarks with --transform, or --transform alone"
        )
    if arguments.json:
        say(json.dumps(figures, indent=1, allow_nan=False))
        return 0
    show_table(table({"": figures}))
    for label, value in figures.get("dice", {}).items():
        if label != "mean":
            hd95 = figures.get("hd95_mm", {}).get(label)
            say(f"  label {label:>6}  Dice {_text(value)}  HD95 {_text(hd95)} mm")
    return 0


def _text(value: float | None) -> str:
    return "-" if value is None else f"{mean_of(value):.3f}"


def _figures(arguments: argparse.Namespace) -> dict[str, Any]:
    from .. import files, landmarks
    from ..geometry import DisplacementField, Volume
    from ..metrics.report import Images, Landmarks, report
    from ..resample import resample
    from ..transforms import read_transform

    reference = next((p for p in (arguments.fixed, arguments.fixed_labels) if p), None)
    grid = None
    if reference is not None:
        read = files.read_volume if reference == arguments.fixed else files.read_labels
        found = read(reference)
        grid = (found if isinstance(found, Volume) else found.volume).geometry
    mapping = arguments.transform and read_transform(arguments.transform, grid)
    if (
        mapping is not None
        and not isinstance(mapping, (DisplacementField, str))
        and grid is not None
    ):
        mapping = DisplacementField.from_affine(mapping, grid)
    field = mapping if isinstance(mapping, DisplacementField) else None

    fixed_labels = warped_labels = moving_labels = None
    if arguments.fixed_labels and arguments.moving_labels:
        fixed_labels = _chosen(files.read_labels(arguments.fixed_labels).volume, arguments.labels)
        moving_labels = _chosen(files.read_labels(arguments.moving_labels).volume, arguments.labels)
        warped_labels = resample(moving_labels, fixed_labels.geometry, field, "nearest")
    images = None
    if arguments.fixed and arguments.moving:
        fixed = files.read_volume(arguments.fixed)
        moving = files.read_volume(arguments.moving)
        images = Images(fixed, resample(moving, fixed.geometry, field))
    points = None
    if arguments.fixed_landmarks and arguments.moving_landmarks:
        points = Landmarks(
            landmarks.read_landmarks(arguments.fixed_landmarks)[1],
            landmarks.read_landmarks(arguments.moving_landmarks)[1],
        )
        if len(points.fixed) != len(points.moving):
            raise RegRefineError(
                f"landmarks: {len(points.fixed)} fixed and {len(points.moving)} moving points; "
                "they must correspond one to one"
            )
    return report(
        fixed_labels,
        warped_labels,
        field,
        moving_labels=moving_labels,
        images=images,
        points=points,
    )


def _chosen(labels: Any, wanted: list[int] | None) -> Any:
    from ..geometry import Volume

    if wanted is None:
        return labels
    present = np.unique(labels.array)
    missing = sorted(set(wanted) - set(present.tolist()))
    if missing:
        raise RegRefineError(
            f"--labels: no label {', '.join(map(str, missing))} there; there are "
            f"{', '.join(map(str, present[present != 0].tolist()))}"
        )
    return Volume(np.where(np.isin(labels.array, wanted), labels.array, 0), labels.geometry)
