"""Transform nodes of any kind, in and out, in Slicer's "from parent" direction: fixed -> moving.

In: initialFromNode samples a node with all its parents, linear or not, on the fixed grid.
Out: setTransform puts a field into a node so that **the moving volume, put directly under that node
in place of the parent it may have, lines up with the fixed volume**. The moving volume's own parent
is therefore part of what the node holds. It is one grid transform, padded and tapered (taper.py),
as long as its margin does not blow it up; where a large linear part would do that, the node holds
the grid of the rest followed by the linear part, which then goes on outside the grid as well
(Slicer saves such a transform as .h5). A non-linear parent is appended as a copy.

All mappings are between RAS mm points; "world" is the scene's frame. Grids with shear (from a
sheared parent) are exact in the scene, but transform files cannot hold them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from RegRefineLib.geometry import DisplacementField, FloatArray, Geometry
from RegRefineLib.taper import Margin, growth, needed_margin, tapered

LARGEST_GROWTH = 4.0
SMALL_GRID_VOXELS = 16_000_000
Node = Any


def toVtkMatrix(array: FloatArray) -> vtk.vtkMatrix4x4:
    """Return a 4x4 array as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(array).ravel()])
    return matrix


def fromVtkMatrix(matrix: vtk.vtkMatrix4x4) -> FloatArray:
    """Return a VTK matrix as a 4x4 array."""
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def matrixToWorld(node: Node) -> FloatArray | None:
    """Return the 4x4 from a node's own coordinates to the world, or None if a parent bends."""
    parent = node.GetParentTransformNode()
    return np.eye(4) if parent is None else _matrixToWorld(parent)


def fromWorld(node: Node) -> vtk.vtkGeneralTransform:
    """Return the mapping from the world to a node's own coordinates, through all its parents."""
    transform = vtk.vtkGeneralTransform()
    parent = node.GetParentTransformNode()
    if parent is not None:
        parent.GetTransformFromWorld(transform)
    return transform


def toWorld(node: Node) -> vtk.vtkGeneralTransform:
    """Return the mapping from a node's own coordinates to the world, through all its parents."""
    transform = vtk.vtkGeneralTransform()
    parent = node.GetParentTransformNode()
    if parent is not None:
        parent.GetTransformToWorld(transform)
    return transform


def mappedGrid(transform: vtk.vtkAbstractTransform, geometry: Geometry) -> FloatArray:
    """Return where `transform` takes each voxel centre of a grid: RAS mm, float64, (k, j, i, 3)."""
    fromIndex = vtk.vtkGeneralTransform()
    fromIndex.PostMultiply()
    fromIndex.Concatenate(toVtkMatrix(geometry.affine))
    fromIndex.Concatenate(transform)
    sampler = vtk.vtkTransformToGrid()
    sampler.SetInput(fromIndex)
    k, j, i = geometry.shape
    sampler.SetGridExtent(0, i - 1, 0, j - 1, 0, k - 1)
    sampler.SetGridScalarTypeToDouble()
    sampler.Update()
    points = vtk_to_numpy(sampler.GetOutput().GetPointData().GetScalars()).reshape(k, j, i, 3)
    points = points.copy()  # of displacements from the indices (i, j, k), so far
    points[..., 0] += np.arange(i)
    points[..., 1] += np.arange(j)[:, None]
    points[..., 2] += np.arange(k)[:, None, None]
    return points


def initialFromNode(
    transformNode: Node, geometry: Geometry, movingNode: Node = None
) -> DisplacementField | FloatArray:
    """Return a transform node as the start of a registration: 4x4 if it is linear, else a field.

    The node (with all its parents) is read as what the moving volume would be put under to line up
    with the fixed one. Where the moving volume is under other transforms now, it enters the
    registration through those, so the start leads from the fixed point through `transformNode` to
    the moving node's own coordinates and from there back to the world.

    Args:
        geometry: the fixed volume's grid, on which a field is sampled.
    """
    outer = _matrixToWorld(transformNode)
    inner = np.eye(4) if movingNode is None else matrixToWorld(movingNode)
    if outer is not None and inner is not None:
        return inner @ np.linalg.inv(outer)
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    down = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(down)
    chain.Concatenate(down)
    if movingNode is not None:
        chain.Concatenate(toWorld(movingNode))
    shift = mappedGrid(chain, geometry) - geometry.points()
    return DisplacementField(shift.astype(np.float32), geometry)


def setTransform(
    node: Node, field: DisplacementField, linear: FloatArray | None = None, movingNode: Node = None
) -> None:
    """Fill `node` (vtkMRMLTransformNode) with a registration's field; see the head of this file.

    Args:
        field: fixed world point -> moving world point.
        linear: the 4x4 part of it, used where the whole does not fit into a grid of sane size.
        movingNode: the moving volume, whose parent is taken into account.
    """
    linear = np.eye(4) if linear is None else np.asarray(linear)
    toMoving = np.eye(4) if movingNode is None else matrixToWorld(movingNode)
    if toMoving is None:
        tail = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.DeepCopyTransform(tail, fromWorld(movingNode))
        _fill(node, [*_gridAndLinear(field, linear), tail])
        return
    back = np.linalg.inv(toMoving)
    if not np.array_equal(back, np.eye(4)):
        points = field.geometry.points()
        shift = _through(back, points + field.vectors) - points
        field = DisplacementField(shift.astype(field.vectors.dtype), field.geometry)
    _fill(node, _gridAndLinear(field, back @ linear))


def setInverse(
    node: Node, field: DisplacementField, linear: FloatArray | None = None, movingNode: Node = None
) -> None:
    """Fill `node` with the inverse: what takes things of the fixed volume to the moving one.

    Args:
        field: moving world point -> fixed world point.
        linear: the 4x4 part of the registration, fixed -> moving, as for `setTransform`.
    """
    linear = np.eye(4) if linear is None else np.linalg.inv(linear)
    toMoving = np.eye(4) if movingNode is None else matrixToWorld(movingNode)
    if toMoving is None:
        head = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.DeepCopyTransform(head, toWorld(movingNode))
        _fill(node, [head, *_gridAndLinear(field, linear)])
        return
    if not np.array_equal(toMoving, np.eye(4)):
        grid = Geometry(field.geometry.shape, np.linalg.inv(toMoving) @ field.geometry.affine)
        shift = field.geometry.points() + field.vectors - grid.points()
        field = DisplacementField(shift.astype(field.vectors.dtype), grid)
    _fill(node, _gridAndLinear(field, linear @ toMoving))


def setLinear(node: Node, linear: FloatArray, movingNode: Node = None) -> None:
    """Fill `node` with the linear part alone, to be used like the whole."""
    toMoving = np.eye(4) if movingNode is None else matrixToWorld(movingNode)
    if toMoving is not None:
        node.SetMatrixTransformFromParent(toVtkMatrix(np.linalg.inv(toMoving) @ linear))
        return
    tail = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.DeepCopyTransform(tail, fromWorld(movingNode))
    _fill(node, [_linearTransform(linear), tail])


def gridTransform(field: DisplacementField) -> slicer.vtkOrientedGridTransform:
    """Return a field as Slicer's grid transform, exact at the grid points."""
    geometry = field.geometry
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(geometry.shape))
    image.SetSpacing(*geometry.spacing)
    image.SetOrigin(*geometry.origin)
    vectors = np.ascontiguousarray(field.vectors).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(vectors, deep=True))
    direction = np.eye(4)
    direction[:3, :3] = geometry.direction
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(toVtkMatrix(direction))
    transform.SetDisplacementGridData(image)
    return transform


def _gridAndLinear(field: DisplacementField, linear: FloatArray) -> list[Any]:
    """Return the field as one grid transform or, if that grew too far, as a grid and a matrix."""
    margin = needed_margin(field)
    if growth(field, margin) <= _growthLimit(field):
        return [gridTransform(tapered(field, margin))]
    points = field.geometry.points()
    rest = _through(np.linalg.inv(linear), points + field.vectors) - points
    field = DisplacementField(rest.astype(field.vectors.dtype), field.geometry)
    margin = _bounded(field, needed_margin(field))
    return [gridTransform(tapered(field, margin)), _linearTransform(linear)]


def _growthLimit(field: DisplacementField) -> float:
    """Return how many times as many voxels a padded grid may have: small grids may have more."""
    return max(LARGEST_GROWTH, SMALL_GRID_VOXELS / field.geometry.voxel_count)


def _bounded(field: DisplacementField, margin: Margin) -> Margin:
    """Return the margin, shrunk where the grid would grow beyond the limit."""
    while growth(field, margin) > _growthLimit(field) and max(margin) > 1:
        margin = tuple(math.ceil(0.8 * m) if m > 1 else 1 for m in margin)  # type: ignore[assignment]
    return margin


def _fill(node: Node, parts: list[Any]) -> None:
    if len(parts) == 1:
        node.SetAndObserveTransformFromParent(parts[0])
        return
    whole = vtk.vtkGeneralTransform()
    whole.PostMultiply()
    for part in parts:
        whole.Concatenate(part)
    node.SetAndObserveTransformFromParent(whole)


def _matrixToWorld(transformNode: Node) -> FloatArray | None:
    if not transformNode.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return fromVtkMatrix(matrix)


def _linearTransform(array: FloatArray) -> vtk.vtkTransform:
    transform = vtk.vtkTransform()
    transform.SetMatrix(toVtkMatrix(array))
    return transform


def _through(matrix: FloatArray, points: FloatArray) -> FloatArray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
