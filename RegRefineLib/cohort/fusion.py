"""Labels of several atlases on one grid, made into one map: majority, STAPLE, local weights.

Locally weighted voting gives each atlas at each voxel the weight (max(ncc, 0) + e)^p, ncc being the
correlation of its warped image with the target's in a window there (Artaechevarria et al. 2009,
"Combination strategies in multi-atlas image segmentation").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import FloatArray, Volume
from ..itk_lps import from_image, to_image

METHODS = ("majority", "staple", "local")
RADIUS, POWER = 2, 4.0  # voxels about each; what sharpens the difference of two atlases
_FLOOR = 1e-3


class Fused(NamedTuple):
    """A fused map.

    Attributes:
        labels: whole numbers, the values of the atlases.
        share: of the winner in all votes, in [0, 1]: how sure it is. None for STAPLE.
        ties: voxels at which two labels had the same share (the smaller number won).
    """

    labels: Volume
    share: Volume | None
    ties: int


def fuse(
    labels: Sequence[Volume],
    method: str = "local",
    images: Sequence[Volume] | None = None,
    target: Volume | None = None,
) -> Fused:
    """Return one label map of several on the same grid.

    Args:
        images, target: the atlases' warped images and the image to be labelled, for `local`.

    Raises:
        RegRefineError: unknown method, fewer than two atlases, other grids, images missing.
    """
    _check(labels, method, images, target)
    values, index = _numbered(labels)
    if method == "staple":
        return _staple(labels, values, index)
    weights: Sequence[FloatArray | float] = [1.0] * len(labels)
    if method == "local" and images is not None and target is not None:
        weights = [local_weight(image, target) for image in images]
    return _voted(values, index, weights, labels[0])


def local_weight(image: Volume, target: Volume) -> FloatArray:
    """Return (max(ncc, 0) + e)^p of two images, window by window, float32."""
    size = 2 * RADIUS + 1

    def mean(array: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(array, size, mode="nearest"))

    a, b = (each.array.astype(np.float64) for each in (image, target))
    ma, mb = mean(a), mean(b)
    va, vb = np.maximum(mean(a * a) - ma * ma, 0), np.maximum(mean(b * b) - mb * mb, 0)
    scale = 1e-8 * max(float(a.var() * b.var()), 1e-30)
    ncc = (mean(a * b) - ma * mb) / np.sqrt(va * vb + scale)
    return ((np.clip(ncc, 0.0, 1.0) + _FLOOR) ** POWER).astype(np.float32)


def _voted(
    values: FloatArray, index: Sequence[FloatArray], weights: Sequence[FloatArray | float],
    like: Volume,
) -> Fused:  # fmt: skip
    """Return the label of the largest weighted vote, one label at a time to save memory."""
    shape = like.array.shape
    best = np.full(shape, -1.0, np.float32)
    winner = np.zeros(shape, np.int32)
    total = np.zeros(shape, np.float32)
    tied = np.zeros(shape, bool)
    for number in range(len(values)):
        votes = np.zeros(shape, np.float32)
        for each, weight in zip(index, weights, strict=True):
            votes += np.where(each == number, weight, 0.0).astype(np.float32)
        total += votes
        tied = np.where(votes > best, False, tied | ((votes == best) & (votes > 0)))
        winner[votes > best] = number
        best = np.maximum(best, votes)
    labels = values[winner].astype(like.array.dtype)
    share = best / np.maximum(total, np.float32(1e-30))
    return Fused(
        Volume(labels, like.geometry), Volume(share, like.geometry), int(np.count_nonzero(tied))
    )


def _staple(labels: Sequence[Volume], values: FloatArray, index: Sequence[FloatArray]) -> Fused:
    """Return SimpleITK's multi-label STAPLE; its undecided voxels get the majority's label."""
    undecided = len(values)
    images = [to_image(Volume(each.astype(np.uint16), labels[0].geometry)) for each in index]
    found = from_image(sitk.MultiLabelSTAPLE(images, undecided)).array.astype(np.int64)
    vote = _voted(values, index, [1.0] * len(index), labels[0])
    decided = found < undecided
    mapped = values[np.where(decided, found, 0)]
    mixed = np.where(decided, mapped, vote.labels.array).astype(labels[0].array.dtype)
    ties = int(np.count_nonzero(~decided))
    return Fused(Volume(mixed, labels[0].geometry), None, ties)


def _numbered(labels: Sequence[Volume]) -> tuple[FloatArray, list[FloatArray]]:
    """Return the label values in order and each map as indices into them: any ids will do."""
    values = np.unique(np.concatenate([np.unique(each.array) for each in labels]))
    return values, [np.searchsorted(values, each.array).astype(np.int32) for each in labels]


def _check(
    labels: Sequence[Volume], method: str, images: Sequence[Volume] | None, target: Volume | None
) -> None:
    if method not in METHODS:
        raise RegRefineError(f"fusion: one of {', '.join(METHODS)}, got {method!r}")
    if len(labels) < 2:
        raise RegRefineError(f"fusion: two atlases or more are needed, got {len(labels)}")
    others = [*labels[1:], *(images or ()), *([target] if target is not None else [])]
    if not all(each.geometry.same_grid(labels[0].geometry) for each in others):
        raise RegRefineError("fusion: label maps and images must lie on one grid")
    if method == "local" and (images is None or target is None or len(images) != len(labels)):
        raise RegRefineError("fusion: local weights need each atlas's warped image and the target")
