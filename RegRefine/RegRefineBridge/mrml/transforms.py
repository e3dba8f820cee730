"""Transform nodes of any kind, in and out, in Slicer's "from parent" direction: fixed -> moving.

In: initialFromNode samples a node with all its parents, linear or not, on the fixed grid.
Out: setMapping fills a node with parts that make up the whole, so that **the moving volume, put
directly under that node in place of the parent it may have, lines up with the fixed volume**. The
moving volume's own parent is therefore part of it: a linear one is in the worker's arrays already
(worker/scene_result.py), a bending one is appended as a copy. Mostly it is one grid transform,
padded and tapered (field_padding.py); where a large linear part would blow that up, the grid of the
rest followed by the linear part, which then goes on outside the grid as well (Slicer saves such a
transform as .h5).

All mappings are between RAS mm points; "world" is the scene's frame. Grids with shear (from a
sheared parent) are exact in the scene, but transform files cannot hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from RegRefineLib.geometry import DisplacementField, FloatArray, Geometry

Node = Any
INVERSE_TOLERANCE = 1e-5  # voxels; VTK's own is 1e-3


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
    down = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(down)
    chain = down if movingNode is None else inTurn(down, toWorld(movingNode))
    shift = mappedGrid(chain, geometry) - geometry.points()
    return DisplacementField(shift.astype(np.float32), geometry)


def setMapping(node: Node, parts: Sequence[Any]) -> None:
    """Make what `node` (vtkMRMLTransformNode) does to points: these VTK transforms in turn."""
    node.SetAndObserveTransformFromParent(parts[0] if len(parts) == 1 else inTurn(*parts))


def setInverseMapping(node: Node, parts: Sequence[Any]) -> None:
    """Make `node` the inverse of what these VTK transforms do to points in turn.

    Exact wherever the mapping has an inverse: VTK inverts it point by point, nothing is sampled.
    The arrays are shared with `parts`. Slicer saves such a transform as .h5, which Slicer alone
    reads.
    """
    node.SetAndObserveTransformToParent(parts[0] if len(parts) == 1 else inTurn(*parts))


def shared(parts: Sequence[Any]) -> list[Any]:
    """Return VTK transforms of their own that share the arrays of these."""
    copies = []
    for part in parts:
        if part.IsA("vtkOrientedGridTransform"):
            copy = slicer.vtkOrientedGridTransform()
            copy.SetGridDirectionMatrix(part.GetGridDirectionMatrix())
            copy.SetDisplacementGridData(part.GetDisplacementGrid())
            copy.SetInverseTolerance(INVERSE_TOLERANCE)
        else:
            copy = part.MakeTransform()
            copy.DeepCopy(part)
        copies.append(copy)
    return copies


def inTurn(*parts: Any) -> vtk.vtkGeneralTransform:
    """Return the mapping that takes points through these VTK transforms, one after the other."""
    whole = vtk.vtkGeneralTransform()
    whole.PostMultiply()
    for part in parts:
        whole.Concatenate(part)
    return whole


def bend(node: Node) -> vtk.vtkGeneralTransform | None:
    """Return a copy of the mapping from the world into a node that is under a bending transform.

    None where the node's parents are linear or there are none: matrixToWorld has it all.
    """
    if matrixToWorld(node) is not None:
        return None
    copy = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.DeepCopyTransform(copy, fromWorld(node))
    return copy


def linearTransform(array: FloatArray) -> vtk.vtkTransform:
    """Return a 4x4 as a VTK transform."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(toVtkMatrix(array))
    return transform


def gridTransform(vectors: vtk.vtkDataArray, geometry: Geometry) -> Any:
    """Return displacements (R, A, S in mm) as Slicer's grid transform, exact at the grid points."""
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(geometry.shape))
    image.SetSpacing(*geometry.spacing)
    image.SetOrigin(*geometry.origin)
    image.GetPointData().SetScalars(vectors)
    direction = np.eye(4)
    direction[:3, :3] = geometry.direction
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(toVtkMatrix(direction))
    transform.SetDisplacementGridData(image)
    return transform


def _matrixToWorld(transformNode: Node) -> FloatArray | None:
    if not transformNode.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return fromVtkMatrix(matrix)
