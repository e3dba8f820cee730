"""regrefine evaluate: metrics of label maps, images, landmarks and fields."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..judgement import single_value
from .apply import moved_points
from .terminal import say, show_table, table


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
    parser.add_argument("--json", action="store_true", help="all metrics as JSON, per label")


def run(arguments: argparse.Namespace) -> int:
    """Compute the metrics that the given files allow, and show them."""
    metrics = _metrics(arguments)
    if not metrics:
        raise RegRefineError(
            "nothing to evaluate: give --fixed-labels and --moving-labels, --fixed and --moving, "
            "both sets of landmarks, or a field as --transform"
        )
    if arguments.json:
        say(json.dumps(metrics, indent=1, allow_nan=False))
        return 0
    show_table(table({"": metrics}))
    for label, value in metrics.get("dice", {}).items():
        if label != "mean":
            hd95 = metrics.get("hd95_mm", {}).get(label)
            say(f"  label {label:>6}  Dice {_text(value)}  HD95 {_text(hd95)} mm")
    return 0


def _text(value: float | None) -> str:
    return "-" if value is None else f"{single_value(value):.3f}"


def _metrics(arguments: argparse.Namespace) -> dict[str, Any]:
    from ..geometry import DisplacementField
    from ..io import volumes as files
    from ..io.transforms import read_transform
    from ..metrics.report import Images, report
    from ..resample import resample

    pairs = {name: _pair(arguments, name) for name in ("", "-labels", "-landmarks")}
    fixed_labels = moving_labels = warped_labels = images = grid = None
    if pairs["-labels"]:
        read = [files.read_labels(path).volume for path in pairs["-labels"]]
        fixed_labels, moving_labels = (_chosen(volume, arguments.labels) for volume in read)
        grid = fixed_labels.geometry
    if pairs[""]:
        fixed, moving = (files.read_volume(path) for path in pairs[""])
        grid = fixed.geometry
    mapping = read_transform(arguments.transform, grid) if arguments.transform else None
    if fixed_labels is not None and moving_labels is not None:
        warped_labels = resample(moving_labels, fixed_labels.geometry, mapping, "nearest")
    if pairs[""]:
        images = Images(fixed, resample(moving, fixed.geometry, mapping))
    field = mapping if isinstance(mapping, DisplacementField) else None
    if isinstance(mapping, np.ndarray) and grid is not None:
        field = DisplacementField.from_affine(mapping, grid)
    metrics = report(fixed_labels, warped_labels, field, moving_labels=moving_labels, images=images)
    if pairs["-landmarks"]:
        metrics["tre_mm"] = _landmark_error(*pairs["-landmarks"], mapping)
    return metrics


def _pair(arguments: argparse.Namespace, name: str) -> tuple[str, str] | None:
    """Return the fixed and the moving file of an option, or None where neither is given."""
    words = [f"--{side}{name}" for side in ("fixed", "moving")]
    paths = [getattr(arguments, word[2:].replace("-", "_")) for word in words]
    if all(paths):
        return paths[0], paths[1]
    if any(paths):
        raise RegRefineError(f"{words[0]} and {words[1]}: give both, or neither")
    return None


def _landmark_error(fixed: str, moving: str, mapping: Any) -> float:
    """Return the mean distance in mm of the moved fixed points from the moving ones."""
    from ..io.landmarks import read_landmarks

    start, wanted = (read_landmarks(path)[1] for path in (fixed, moving))
    if len(start) != len(wanted) or not len(start):
        raise RegRefineError(
            f"landmarks: {len(start)} fixed and {len(wanted)} moving points; "
            "they must correspond one to one"
        )
    return float(np.linalg.norm(moved_points(start, mapping) - wanted, axis=1).mean())


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
