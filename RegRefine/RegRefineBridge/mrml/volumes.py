"""Nodes in: volumes, masks and landmarks of the scene as RegRefineLib's types, in world RAS mm.

Nodes may be under any transforms. A linear one is folded into the grid, voxels untouched; through a
bending one a copy is sampled, on a grid of the volume's own spacing that holds all of it. Inputs
are never changed. Labels are in mrml/segmentations.py, transforms in mrml/transforms.py.

    volumeFromNode(node) -> Volume
    landmarksFromNode(node) -> Landmarks
    sampled(source, node, geometry, ...) -> array      any voxels of a node on any grid
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from scipy import ndimage

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import FloatArray, Geometry, Volume, transformed

from .transforms import (
    Node,
    fromVtkMatrix,
    fromWorld,
    inTurn,
    mappedGrid,
    matrixToWorld,
    toWorld,
)

SLAB_VOXELS = 4_000_000


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points (n, 3) in world RAS mm and their names, in the list's order."""

    points: FloatArray
    names: list[str]


def checkPresent(node: Node, what: str) -> None:
    """Raise RegRefineError unless the node is there and in a scene; `what` names it."""
    if node is None:
        raise RegRefineError(f"{what}: nothing is chosen")
    if node.GetScene() is None:
        raise RegRefineError(f"{what}: {node.GetName()} was removed from the scene; choose another")


def volumeFromNode(node: Node, what: str = "volume") -> Volume:
    """Return a scalar volume node as a Volume in the world; the array is a copy.

    Raises:
        RegRefineError: no node, no voxels, or several components; `what` names the input.
    """
    own = ownVolume(node, what)
    matrix = matrixToWorld(node)
    if matrix is not None:
        return Volume(own.array, Geometry(own.geometry.shape, matrix @ own.geometry.affine))
    geometry = _enclosingGrid(node, own.geometry)
    array = sampled(own, node, geometry, order=1, outside=float(own.array.min()))
    return Volume(array, geometry)


def ownVolume(node: Node, what: str = "volume") -> Volume:
    """Return a scalar volume node as a Volume in its own coordinates, below its parents.

    Raises:
        RegRefineError: as `volumeFromNode`.
    """
    checkPresent(node, what)
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise RegRefineError(f"{what}: {node.GetName()} has no voxels")
    if image.GetNumberOfScalarComponents() != 1:
        raise RegRefineError(
            f"{what}: {node.GetName()} has {image.GetNumberOfScalarComponents()} values a voxel; "
            "choose a scalar volume"
        )
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = np.array(slicer.util.arrayFromVolume(node))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.nan_to_num(array, posinf=0.0, neginf=0.0)
    return Volume(array, Geometry(array.shape, fromVtkMatrix(matrix)))


def landmarksFromNode(node: Node, what: str = "landmarks") -> Landmarks:
    """Return the placed control points of a markups node, in the world.

    Raises:
        RegRefineError: no node, or no placed point.
    """
    checkPresent(node, what)
    points, names = [], []
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) != node.PositionDefined:
            continue
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, position)
        points.append(position)
        names.append(node.GetNthControlPointLabel(index))
    if not points:
        raise RegRefineError(f"{what}: {node.GetName()} has no placed points")
    return Landmarks(np.array(points), names)


def roiMask(node: Node, geometry: Geometry) -> NDArray[np.bool_]:
    """Return where the voxel centres of a grid lie in a markups ROI, under whatever parents."""
    toNode = vtk.vtkMatrix4x4()
    toNode.DeepCopy(node.GetObjectToNodeMatrix())
    half = np.array(node.GetSize()) / 2.0
    back = np.linalg.inv(fromVtkMatrix(toNode))
    matrix = matrixToWorld(node)
    if matrix is None:
        points = transformed(back, mappedGrid(fromWorld(node), geometry))
    else:
        fromIndex = Geometry(geometry.shape, back @ np.linalg.inv(matrix) @ geometry.affine)
        points = fromIndex.points()
    inside: NDArray[np.bool_] = np.all(np.abs(points) <= half, axis=-1)
    return inside


def sampled(
    source: Volume,
    node: Node,
    geometry: Geometry,
    order: int = 0,
    outside: float = 0.0,
    *,
    through: Any = None,
) -> NDArray[Any]:
    """Return `source`, which lies in `node`'s own coordinates, on a grid in the world.

    Args:
        order: 0 nearest (the source's pixel type is kept), 1 linear (float32).
        outside: the value beyond the source.
        through: a VTK transform of world points that comes first: the source as it warps it, in
            one interpolation.
    """
    dtype = source.array.dtype if order == 0 else np.dtype(np.float32)
    matrix = matrixToWorld(node)
    if matrix is None or through is not None:
        down = fromWorld(node)
        if through is not None:
            down = inTurn(through, down)
        return _throughPoints(source, down, geometry, order, np.asarray(outside, dtype))
    toIndex = np.linalg.inv(matrix @ source.geometry.affine) @ geometry.affine
    result = np.full(geometry.shape, outside, dtype)
    if order == 0 and _isSeparable(toIndex, geometry.shape):
        _pick(source.array, toIndex, result)
        return result
    low, high = _reached(source.geometry.shape, toIndex, geometry.shape)
    if (low < high).all():
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        flipped = toIndex[2::-1, 2::-1]  # scipy counts (k, j, i)
        ndimage.affine_transform(
            source.array,
            flipped,
            offset=toIndex[2::-1, 3] + flipped @ low,
            output_shape=tuple(high - low),
            output=result[window],
            order=order,
            mode="grid-constant",
            cval=outside,
        )
    return result


def _isSeparable(toIndex: FloatArray, shape: tuple[int, ...]) -> bool:
    """Whether the axes of two grids are parallel, to a thousandth of a voxel over all of it."""
    skew = toIndex[:3, :3] - np.diag(np.diag(toIndex[:3, :3]))
    return bool((np.abs(skew) @ np.array(shape[::-1])).max() < 1e-3)


def _pick(source: NDArray[Any], toIndex: FloatArray, result: NDArray[Any]) -> None:
    """Fill `result` with the nearest values of a source on parallel axes; beyond it stays.

    As affine_transform does, but many times as fast: labels mostly lie on their image's grid.
    """
    picked, inside = [], []
    for axis, (n, size) in enumerate(zip(result.shape, source.shape, strict=True)):
        column = 2 - axis
        place = toIndex[column, column] * np.arange(n) + toIndex[column, 3]
        index = np.floor(place + 0.5).astype(np.intp)
        reached = np.flatnonzero((index >= 0) & (index < size))
        if not len(reached):
            return
        inside.append(slice(reached[0], reached[-1] + 1))
        picked.append(index[reached])
    if all((np.diff(index) == 1).all() for index in picked):  # the same voxels, perhaps cut
        window = tuple(slice(index[0], index[-1] + 1) for index in picked)
        result[tuple(inside)] = source[window]
    else:
        result[tuple(inside)] = source[np.ix_(*picked)]


def _reached(
    sourceShape: tuple[int, ...], toIndex: FloatArray, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the box of target voxels (k, j, i), [low, high), that the source can reach."""
    ends = [(-1.0, n) for n in sourceShape[::-1]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    back = np.linalg.inv(toIndex)
    index = transformed(back, corners)[:, ::-1]
    low = np.clip(np.floor(index.min(axis=0)), 0, shape).astype(np.intp)
    high = np.clip(np.ceil(index.max(axis=0)) + 1, 0, shape).astype(np.intp)
    return low, high


def _throughPoints(
    source: Volume, down: Any, geometry: Geometry, order: int, outside: NDArray[Any]
) -> NDArray[Any]:
    """Sample point by point, in slabs of slices; `down` leads to the source's own coordinates."""
    result = np.empty(geometry.shape, outside.dtype)
    thickness = max(1, SLAB_VOXELS * geometry.shape[0] // geometry.voxel_count)
    for start in range(0, geometry.shape[0], thickness):
        stop = min(start + thickness, geometry.shape[0])
        affine = geometry.affine.copy()
        affine[:3, 3] = geometry.to_ras([0, 0, start])
        slab = Geometry((stop - start, *geometry.shape[1:]), affine)
        index = source.geometry.to_index(mappedGrid(down, slab))
        ndimage.map_coordinates(
            source.array,
            np.moveaxis(index[..., ::-1], -1, 0),
            output=result[start:stop],
            order=order,
            mode="grid-constant",
            cval=float(outside),
        )
    return result


def _enclosingGrid(node: Node, own: Geometry) -> Geometry:
    """Return the grid with the volume's own axes that holds all of it, under its parents.

    At most as large again on each side, so that a transform that runs away cannot fill the memory.
    """
    steps = [np.linspace(-0.5, n - 0.5, 17) for n in own.shape[::-1]]
    lattice = own.to_ras(np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3))
    up = toWorld(node)
    index = own.to_index(np.array([up.TransformPoint(point) for point in lattice]))
    size = np.array(own.shape[::-1])
    low = np.clip(np.floor(index.min(axis=0)), -size, 0).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)), size - 1, 2 * size).astype(int)
    affine = own.affine.copy()
    affine[:3, 3] = own.to_ras(low)
    return Geometry(tuple((high - low + 1)[::-1]), affine)
