"""Label maps: which labels they contain, and each voxel's rank among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_TABLE = 1 << 22  # label values spread up to here are looked up, beyond they are sorted


def as_labels(array: NDArray[Any], name: str = "labels") -> NDArray[Any]:
    """Return the array with an integer type.

    Raises:
        ValueError: a value is not a whole number.
    """
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.integer):
        return array
    if not np.all(np.isfinite(array)) or not np.array_equal(np.rint(array), array):
        raise ValueError(f"{name}: label maps hold whole numbers, got {array.dtype} fractions")
    return array.astype(np.int64)


def values_of(array: NDArray[Any]) -> list[int]:
    """Return every value of a label map in order, the background 0 among them."""
    array = as_labels(array)
    if not array.size:
        return []
    low, high = int(array.min()), int(array.max())
    if high - low >= _LARGEST_TABLE:
        return [int(value) for value in np.unique(array)]
    there = np.zeros(high - low + 1, dtype=bool)
    there[_from(array, low)] = True
    return [low + int(value) for value in np.flatnonzero(there)]


def labels_of(array: NDArray[Any]) -> list[int]:
    """Return the labels of a map in order, without the background 0."""
    return [value for value in values_of(array) if value != 0]


def ranks(array: NDArray[Any], labels: Sequence[int]) -> NDArray[np.intp]:
    """Return 1 + the position in ascending `labels` of each voxel's label; 0 where it is none."""
    array = as_labels(array)
    if not array.size or not labels:
        return np.zeros(array.shape, dtype=np.intp)
    wanted = np.asarray(labels, dtype=np.int64)
    low, high = int(array.min()), int(array.max())
    if high - low < _LARGEST_TABLE:
        table = np.zeros(high - low + 1, dtype=np.intp)
        inside = (wanted >= low) & (wanted <= high)
        table[wanted[inside] - low] = np.flatnonzero(inside) + 1
        return table[_from(array, low)]
    place = np.minimum(np.searchsorted(wanted, array), len(wanted) - 1)
    return np.where(wanted[place] == array, place + 1, 0)


def _from(array: NDArray[Any], low: int) -> NDArray[Any]:
    """Return the values counted from `low`, without a copy where that changes nothing."""
    return array if low == 0 else array.astype(np.int64) - low
