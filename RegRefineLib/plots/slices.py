"""Axial, coronal and sagittal slices in radiological display, whatever the order of the axes.

The patient's right is on the left; anterior is up in axial cuts and on the left in sagittal ones. A
volume that is oblique is cut along its own axes, named after the nearest ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from ..geometry import FloatArray, Geometry, Volume

# name -> the world axes (0 right, 1 anterior, 2 superior): normal, down the rows, along the columns
_PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
_ENDS = ("RL", "AP", "SI")


@dataclass(frozen=True, eq=False)
class Plane:
    """One cut through a grid.

    Attributes:
        name: axial, coronal or sagittal.
        axis, index: which slice: the array axis (of k, j, i) it is normal to, and its position.
        row_axis, column_axis: the array axes that run down the rows and along the columns.
        flips: whether rows and columns run against their array axes.
        size_mm: height and width.
        letters: what lies at the top, bottom, left and right.
    """

    name: str
    geometry: Geometry
    axis: int
    index: int
    row_axis: int
    column_axis: int
    flips: tuple[bool, bool]
    size_mm: tuple[float, float]
    letters: str

    def cut(self, array: NDArray) -> NDArray:
        """Return the slice (rows, columns, ...) of an array (k, j, i, ...), the top row first."""
        cut = np.take(array, self.index, axis=self.axis)
        if self.row_axis > self.column_axis:
            cut = cut.swapaxes(0, 1)
        return cut[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]

    def points(self) -> FloatArray:
        """Return the RAS mm of the cut's voxels, (rows, columns, 3)."""
        axes = [np.arange(n) for n in self.geometry.shape]
        axes[self.axis] = np.array([self.index])
        k, j, i = np.meshgrid(*axes, indexing="ij")
        whole = self.geometry.to_ras(np.stack([i, j, k], axis=-1))
        return _moved(self, 0).cut(whole)

    def slab(self, array: NDArray) -> tuple[NDArray, Plane]:
        """Return the slice with its neighbours, (k, j, i, ...), and this plane within it."""
        first = max(self.index - 1, 0)
        part = [slice(None)] * 3
        part[self.axis] = slice(first, self.index + 2)
        return array[tuple(part)], _moved(self, self.index - first)


def _moved(plane: Plane, index: int) -> Plane:
    return Plane(**{**vars(plane), "index": index})


def planes(geometry: Geometry, index_kji: tuple[int, int, int]) -> list[Plane]:
    """Return the axial, coronal and sagittal planes through a voxel (k, j, i)."""
    direction = geometry.direction
    # which of (i, j, k) runs along right, anterior, superior: the assignment nearest to the axes
    nearest = max(
        permutations(range(3)), key=lambda p: sum(abs(direction[w, p[w]]) for w in range(3))
    )
    axes = [2 - nearest[world] for world in range(3)]
    upwards = [direction[world, nearest[world]] > 0 for world in range(3)]
    length = [geometry.shape[axes[w]] * float(geometry.spacing[nearest[w]]) for w in range(3)]
    return [
        Plane(
            name,
            geometry,
            axes[normal],
            index_kji[axes[normal]],
            axes[row],
            axes[column],
            (upwards[row], upwards[column]),
            (length[row], length[column]),
            _ENDS[row] + _ENDS[column],
        )
        for name, (normal, row, column) in _PLANES.items()
    ]


def telling_voxel(image: Volume, labels: Volume | None = None) -> tuple[int, int, int]:
    """Return the voxel (k, j, i) whose three slices show the most.

    With labels: along each axis the slice in which the labels, each measured by its own largest
    slice and weighed by the root of its size, fill the most. Without: the middle of the
    intensities above the image's mean.
    """
    if labels is not None and labels.array.any():
        k, j, i = (_fullest(labels.array, axis) for axis in range(3))
        return k, j, i
    bright = image.array > image.array.mean()
    if not bright.any():
        k, j, i = (n // 2 for n in image.array.shape)
        return k, j, i
    k, j, i = (
        round(float(np.average(np.arange(n), weights=bright.sum(axis=others))))
        for n, others in zip(bright.shape, ((1, 2), (0, 2), (0, 1)), strict=True)
    )
    return k, j, i


def _fullest(labels: NDArray, axis: int) -> int:
    values = np.moveaxis(labels, axis, 0)
    most = int(labels.max()) + 1
    areas = np.stack([np.bincount(cut.ravel(), minlength=most)[1:] for cut in values])
    areas = areas[:, areas.any(axis=0)]
    weights = np.sqrt(areas.sum(axis=0)) / areas.max(axis=0)
    return int((areas @ weights).argmax())
