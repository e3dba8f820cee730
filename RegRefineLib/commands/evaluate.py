"""regrefine evaluate: metrics of label maps, images, landmarks and fields."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RegRefineError
from ..judgement import single_value
from .terminal import say, show_table, table

if TYPE_CHECKING:
    from ..geometry import DisplacementField, Geometry, Volume
    from ..mapping import Chain

EXTRA = ("nsd", "ndv", "tre", "logjacobian")  # metrics.more.NAMES, which loads scipy


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--fixed-labels", metavar="FILE", help="label map of the fixed image")
    parser.add_argument("--moving-labels", metavar="FILE", help="label map to compare with it")
    parser.add_argument("--fixed", metavar="FILE", help="fixed image, for the correlation")
    parser.add_argument("--moving", metavar="FILE", help="image to compare with it")
    parser.add_argument("--fixed-landmarks", metavar="FILE")
    parser.add_argument("--moving-landmarks", metavar="FILE")
    parser.add_argument(
        "--transform",
        metavar="FILE",
        nargs="+",
        help="move the moving ones through this first, or through several as `apply` takes them; "
        "judge it too",
    )
    parser.add_argument("--labels", type=int, nargs="+", metavar="N", help="only these labels")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        choices=EXTRA,
        help="more: surface Dice; non-diffeomorphic volume; spread of the landmark error; ln det J",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1.0, metavar="MM", help="of nsd; default 1 mm"
    )
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
    for name, value in metrics.items():
        if name.startswith(("nsd", "ndv", "folded", "tre_p", "tre30", "logjacobian")):
            say(f"{name}  {_text(value)}")
    for label, value in metrics.get("dice", {}).items():
        if label != "mean":
            hd95 = metrics.get("hd95_mm", {}).get(label)
            say(f"  label {label:>6}  Dice {_text(value)}  HD95 {_text(hd95)} mm")
    return 0


def _text(value: Any) -> str:
    value = single_value(value)
    return "-" if value is None else f"{value:.3f}"


def _metrics(arguments: argparse.Namespace) -> dict[str, Any]:
    from ..io import volumes
    from ..io.images import geometry_of_file
    from ..io.transforms import Grids, read_chain
    from ..metrics.report import Images, Landmarks, report
    from ..resample import covered, resample

    images, labels, marks = (_pair(arguments, name) for name in ("", "-labels", "-landmarks"))
    known = images or labels
    grids = Grids(*(geometry_of_file(path) for path in known)) if known else Grids()
    chain = read_chain(arguments.transform or [], grids)
    grid = grids.fixed or chain.grid
    mapping = chain.for_resampling(grid) if grid is not None else None
    field = _field(chain, grid) if arguments.transform else None
    metrics: dict[str, Any] = {}
    if labels:
        metrics |= _of_labels(labels, chain, arguments)
    compared = None
    if images:
        fixed, moving = (volumes.read_volume(path) for path in images)
        both = covered(moving.geometry, fixed.geometry, mapping)
        compared = Images(fixed, resample(moving, fixed.geometry, mapping), both)
    points = Landmarks(*_landmarks(*marks, chain)) if marks else None
    metrics |= report(field=field, images=compared, points=points)
    return metrics | _more(arguments.metrics, field, points)


def _field(chain: Chain, grid: Geometry | None) -> DisplacementField | None:
    """Return what to judge folds on: the one field as it is, else one on the fixed grid."""
    from ..geometry import DisplacementField

    if len(chain.parts) == 1 and chain.grid is not None:
        found = chain.for_resampling(chain.grid)
        if isinstance(found, DisplacementField):
            return found
    return None if grid is None else chain.on(grid)


def _more(names: list[str], field: DisplacementField | None, points: Any) -> dict[str, Any]:
    from ..metrics import more
    from ..metrics.report import landmark_errors

    found: dict[str, Any] = {}
    if field is not None and "ndv" in names:
        found |= more.ndv(field)
    if field is not None and "logjacobian" in names:
        found |= more.log_jacobian(field)
    if points is not None and "tre" in names:
        found |= more.tre(landmark_errors(points, field))
    return found


def _of_labels(
    paths: tuple[str, str], chain: Chain, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return the metrics of two label maps, layer by layer where segments overlap."""
    from ..io import label_pairs, volumes
    from ..io.volumes import LabelMap

    fixed, moving = (volumes.read_label_layers(path) for path in paths)
    names = LabelMap(fixed[0].volume, {k: v for f in fixed for k, v in f.names.items()})
    if names.names and any(m.names for m in moving):
        everything = {k: v for m in moving for k, v in m.names.items()}
        new = label_pairs.numbers(names, LabelMap(moving[0].volume, everything))
        moving = [label_pairs.renumbered(m, new) for m in moving]
    wanted = arguments.labels
    if wanted is not None:
        _check_wanted(wanted, fixed, moving)
    parts = []
    for one in fixed:
        for other in moving:
            own = _labels_in(one) if len(moving) > 1 or len(fixed) > 1 else None
            shared = own & _labels_in(other) if own is not None else None
            if shared is not None and not shared:
                continue
            chosen = shared if wanted is None else set(wanted) & (shared or set(wanted))
            parts.append(_compared(one, other, chain, chosen, arguments))
    return _merged(parts)


def _labels_in(labels: Any) -> set[int]:
    return {int(v) for v in np.unique(labels.volume.array)} - {0}


def _compared(
    fixed: Any, moving: Any, chain: Chain, chosen: set[int] | None, arguments: argparse.Namespace
) -> dict[str, Any]:
    from ..metrics import more
    from ..metrics.label_maps import labels_of
    from ..metrics.report import report
    from ..resample import resample_labels

    a, b = (_chosen(each.volume, chosen) for each in (fixed, moving))
    grid = _around_both(a, b, chain)
    mapping = chain.for_resampling(grid)
    a, warped = resample_labels(a, grid), resample_labels(b, grid, mapping)
    metrics = report(a, warped, moving_labels=b)
    if "nsd" in arguments.metrics:
        both = sorted(set(labels_of(a.array)) & set(labels_of(b.array)))
        metrics["nsd"] = more.nsd(a, warped, both, arguments.tolerance)
    return metrics


def _around_both(fixed: Volume, moving: Volume, chain: Chain) -> Geometry:
    """Return the fixed map's grid, grown to where the moving map's labels come to lie.

    A segmentation may be cropped to its contents: what lies outside its box is no label, not
    unknown, so that both ways of comparing two maps give the same.
    """
    from ..geometry import Geometry

    inside = np.argwhere(moving.array != 0)
    if not len(inside):
        return fixed.geometry
    low, high = inside.min(axis=0)[::-1], inside.max(axis=0)[::-1]
    sides = [np.linspace(a - 0.5, b + 0.5, 5) for a, b in zip(low, high, strict=True)]
    sample = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    back = chain.inverse().points(moving.geometry.to_ras(sample))
    index = fixed.geometry.to_index(back)
    size = np.array(fixed.geometry.shape[::-1])
    first = np.minimum(np.floor(index.min(axis=0)) - 1, 0).astype(int)
    last = np.maximum(np.ceil(index.max(axis=0)) + 1, size - 1).astype(int)
    if (first >= -1).all() and (last <= size).all():
        return fixed.geometry
    shape = last - first + 1
    if np.prod(shape, dtype=float) > 16 * max(fixed.geometry.voxel_count, 1 << 20):
        return fixed.geometry  # far apart: nothing in common either way
    affine = fixed.geometry.affine.copy()
    affine[:3, 3] = fixed.geometry.to_ras(first)
    return Geometry(tuple(shape[::-1].tolist()), affine)


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of several layers as one: values per label together, means anew."""
    if len(parts) < 2:
        return parts[0] if parts else {}
    merged: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if isinstance(values[0], dict):
            labels = {k: v for value in values for k, v in value.items() if k != "mean"}
            known = [v for v in labels.values() if v is not None]
            merged[name] = {"mean": float(np.mean(known)) if known else None, **labels}
        elif isinstance(values[0], list):
            merged[name] = [v for value in values for v in value]
        else:
            known = [v for v in values if v is not None]
            merged[name] = float(np.mean(known)) if known else None
    return merged


def _pair(arguments: argparse.Namespace, name: str) -> tuple[str, str] | None:
    """Return the fixed and the moving file of an option, or None where neither is given."""
    words = [f"--{side}{name}" for side in ("fixed", "moving")]
    paths = [getattr(arguments, word[2:].replace("-", "_")) for word in words]
    if all(paths):
        return paths[0], paths[1]
    if any(paths):
        raise RegRefineError(f"{words[0]} and {words[1]}: give both, or neither")
    return None


def _landmarks(fixed: str, moving: str, chain: Chain) -> tuple[Any, Any, Any]:
    """Return the fixed and the moving points, and the fixed ones moved by the exact mapping."""
    from ..io.landmarks import read_landmarks

    start, wanted = (read_landmarks(path)[1] for path in (fixed, moving))
    if len(start) != len(wanted) or not len(start):
        raise RegRefineError(
            f"landmarks: {len(start)} fixed and {len(wanted)} moving points; "
            "they must correspond one to one"
        )
    return start, wanted, chain.points(start)


def _check_wanted(wanted: list[int], *maps: Any) -> None:
    for side in maps:
        present = sorted(set().union(*(_labels_in(each) for each in side)))
        missing = sorted(set(wanted) - set(present))
        if missing:
            raise RegRefineError(
                f"--labels: no label {', '.join(map(str, missing))} there; there are "
                f"{', '.join(map(str, present))}"
            )


def _chosen(labels: Any, wanted: set[int] | None) -> Any:
    from ..geometry import Volume

    if wanted is None:
        return labels
    kept = np.isin(labels.array, sorted(wanted))
    return Volume(np.where(kept, labels.array, 0), labels.geometry)
