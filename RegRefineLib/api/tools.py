"""Reading, applying, judging and listing for scripts and notebooks."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..metrics.report import Images
from ..metrics.report import report as measure
from ..resample import resample
from .convert import Image, image_of, labels_of, mapping_of, points_of
from .transform import Transform


def read(path: str | os.PathLike[str]) -> Image:
    """Return the image in a file or a folder of DICOM files.

    Raises:
        RegRefineError: the file cannot be read, or holds no single volume.
    """
    return image_of(path)


def read_transform(value: Any, like: Any = None) -> Transform:
    """Return a transform of a file, a SimpleITK transform, a 4x4 (RAS mm), a field or a result.

    Args:
        like: the fixed image, for transforms that lie on no grid of their own (B-splines).

    Raises:
        RegRefineError: another kind, or a file that cannot be read.
    """
    if isinstance(value, Transform):
        return value
    grid = None if like is None else image_of(like, "like").geometry
    return Transform(mapping_of(value, "transform", grid))


def apply(
    transform: Any,
    image: Any,
    like: Any = None,
    interpolation: str = "linear",
    outside: float | None = None,
) -> Image:
    """Return a moving image on the fixed grid, through a transform of any kind.

    Args:
        transform: as for `read_transform`.
        image, like, interpolation, outside: as for `Transform.apply`.

    Raises:
        RegRefineError: a wrong kind, or no grid is known.
    """
    return read_transform(transform, like).apply(image, like, interpolation, outside)


def evaluate(
    fixed: Any = None,
    moving: Any = None,
    transform: Any = None,
    **given: Any,
) -> dict[str, Any]:
    """Return metrics by name (RESULT.md defines them) of what agrees after a transform.

    Args:
        fixed, moving: images, for their correlation (ncc).
        transform: fixed -> moving, as for `read_transform`; None: the identity.
        **given: fixed_labels and moving_labels (Dice, surface distances), fixed_landmarks and
            moving_landmarks (their distance, tre_mm).

    Raises:
        RegRefineError: an unknown name, one of a pair is missing, or a wrong kind.
    """
    known = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    for name in given:
        if name not in known:
            raise RegRefineError(f"evaluate: unknown {name}; known are {', '.join(known)}")
    pairs = {
        "images": (fixed, moving),
        "labels": (given.get("fixed_labels"), given.get("moving_labels")),
        "landmarks": (given.get("fixed_landmarks"), given.get("moving_landmarks")),
    }
    for what, pair in pairs.items():
        if (pair[0] is None) != (pair[1] is None):
            raise RegRefineError(f"{what}: give both the fixed and the moving ones, or neither")
    if all(pair[0] is None for pair in pairs.values()) and transform is None:
        raise RegRefineError("evaluate: give images, labels, landmarks or a transform")
    return _measured(pairs, transform)


def _measured(pairs: dict[str, tuple[Any, Any]], transform: Any) -> dict[str, Any]:
    like = next((p[0] for n, p in pairs.items() if n != "landmarks" and p[0] is not None), None)
    found = None if transform is None else read_transform(transform, like)
    mapping = None if found is None else found.mapping
    images = labels = warped = moving_labels = None
    if pairs["images"][0] is not None:
        still, moved = (image_of(v, "image") for v in pairs["images"])
        images = Images(still, resample(moved, still.geometry, mapping))
    if pairs["labels"][0] is not None:
        labels, moving_labels = (labels_of(v, "labels").volume for v in pairs["labels"])
        warped = resample(moving_labels, labels.geometry, mapping, "nearest")
    field = None
    if found is not None and not _is_matrix(found):
        field = found.field
    metrics = measure(labels, warped, field, moving_labels=moving_labels, images=images)
    if pairs["landmarks"][0] is not None:
        start, goal = (points_of(v, "landmarks") for v in pairs["landmarks"])
        if len(start) != len(goal):
            raise RegRefineError("landmarks: as many fixed as moving points are needed")
        reached = start if found is None else found.points(start)
        metrics["tre_mm"] = float(np.linalg.norm(reached - goal, axis=1).mean())
    return metrics


def _is_matrix(transform: Transform) -> bool:
    return getattr(transform.mapping, "shape", None) == (4, 4)


def doctor() -> dict[str, Any]:
    """Return versions, devices, threads, memory and folders: what a report of a fault needs."""
    from ..diagnosis import diagnosis

    return diagnosis()
