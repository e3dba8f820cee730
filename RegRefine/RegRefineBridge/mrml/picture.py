"""A picture of a result for its report: the middle slices of fixed, moving and warped volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .output_nodes import isPresent
from .transforms import Node, matrixToWorld
from .volumes import ownVolume, sampled

HEIGHT = 220  # of each of the slices, in pixels
GAP = 4


def picture(fixed: Node, moving: Node, warped: Node) -> bytes:
    """Return a PNG: a row each for the three axes, a column each for fixed, moving, warped.

    Every volume is sampled on the fixed grid's three middle slices. What was removed is left out;
    without the fixed volume there is no picture (no bytes).
    """
    nodes = [node for node in (fixed, moving, warped) if isPresent(node)]
    if not nodes or nodes[0] is not fixed:
        return b""
    rows = [_row(nodes, axis) for axis in range(3)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]))) for row in rows]
    return _png(np.concatenate(padded))


def _row(nodes: list[Node], axis: int) -> NDArray[np.uint8]:
    grid = ownVolume(nodes[0]).geometry
    # the fixed grid in the world, one slice thick along the axis
    whole = _inWorld(nodes[0], grid)
    shape = list(grid.shape)
    middle = shape[axis] // 2
    index = np.zeros(3)
    index[2 - axis] = middle
    shape[axis] = 1
    affine = whole.affine.copy()
    affine[:3, 3] = whole.to_ras(index)
    plane = type(whole)(tuple(shape), affine)
    spacing = np.delete(whole.spacing[::-1], axis)
    images = []
    for node in nodes:
        own = ownVolume(node)
        low = float(own.array.min())
        slice_ = np.take(sampled(own, node, plane, 1, low), 0, axis=axis)
        images.append(_stretched(_resized(slice_[::-1], spacing)))
        images.append(np.zeros((HEIGHT, GAP), np.uint8))
    return np.concatenate(images, axis=1)


def _inWorld(node: Node, grid: Any) -> Any:
    matrix = matrixToWorld(node)
    return grid if matrix is None else type(grid)(grid.shape, matrix @ grid.affine)


def _resized(slice_: NDArray[Any], spacing: NDArray[Any]) -> NDArray[Any]:
    """Return a slice HEIGHT pixels high, in true proportions, nearest neighbour."""
    height = slice_.shape[0] * spacing[0]
    width = max(1, round(slice_.shape[1] * spacing[1] / height * HEIGHT))
    rows = (np.arange(HEIGHT) * slice_.shape[0]) // HEIGHT
    columns = (np.arange(width) * slice_.shape[1]) // width
    return slice_[np.ix_(rows, columns)]


def _stretched(slice_: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.percentile(slice_, (1, 99))
    scale = 255.0 / max(float(high - low), 1e-12)
    return np.clip((slice_ - low) * scale, 0, 255).astype(np.uint8)


def _png(array: NDArray[np.uint8]) -> bytes:
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[1], array.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(array[::-1].ravel(), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.SetWriteToMemory(True)
    writer.Write()
    return bytes(vtk_to_numpy(writer.GetResult()))
