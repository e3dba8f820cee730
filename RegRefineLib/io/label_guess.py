"""Whether an image is a label map: by what its file says, or by how its numbers lie.

Labels must not be interpolated, and people forget to say that they are labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import SCALAR
from .notices import notice
from .paths import PathLike
from .volumes import Frames

MOST_LABELS = 5000
_FLAT = 0.6  # of the voxels that are not background, those like their neighbour


def says_labels(path: PathLike) -> bool:
    """Return whether a file's name says that it is a segmentation (.seg.nrrd)."""
    return str(path).lower().endswith((".seg.nrrd", ".seg.nhdr"))


def looks_like_labels(frames: Frames) -> bool:
    """Return whether the one volume of a file is flat regions of few whole numbers.

    A scan's whole numbers differ from voxel to voxel, but for its background; a label map's do not.
    """
    if frames.kind != SCALAR:
        return False
    array = frames.volumes[0].array
    if array.dtype.kind == "f" and not np.array_equal(np.rint(array), array):
        return False
    values, counts = np.unique(array, return_counts=True)
    if not 2 <= len(values) <= MOST_LABELS or values[0] < 0:
        return False
    others = array != values[np.argmax(counts)]
    return _share_alike(array, others) >= _FLAT


def say(path: PathLike) -> None:
    """Say that a file is taken for labels."""
    notice(
        f"{path}: flat regions of whole numbers, taken for a label map (nearest neighbour); "
        "--interpolation linear for an image"
    )


def _share_alike(array: NDArray[Any], among: NDArray[np.bool_]) -> float:
    """Return the share of voxels that are like the one before, along the axis most alike."""
    shares = []
    for axis in range(3):
        if array.shape[axis] < 2:
            continue
        later = [slice(None)] * 3
        earlier = [slice(None)] * 3
        later[axis], earlier[axis] = slice(1, None), slice(None, -1)
        chosen = among[tuple(later)]
        same = (array[tuple(later)] == array[tuple(earlier)])[chosen]
        shares.append(float(same.mean()) if same.size else 0.0)
    return max(shares, default=0.0)
