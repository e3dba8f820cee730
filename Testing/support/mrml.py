"""Nodes of the real MRML scene for the tests of the bridge; skips where slicer-core is absent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from RegRefineBridge.mrml.transforms import (
    bend,
    gridTransform,
    linearTransform,
    matrixToWorld,
    setInverseMapping,
    setMapping,
    shared,
    toVtkMatrix,
)
from RegRefineBridge.mrml.vtk_arrays import copied, load
from RegRefineBridge.workflow.chunked import finished

from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.worker.scene_result import forward, prepared

# columns: the directions of i, j, k
DIRECTIONS = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix(),
}


def newScene():
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    return scene


def grid(shape=(22, 26, 30), spacing=(2.0, 2.0, 2.5), direction="axial", centre=(3.0, -4.0, 5.0)):
    """A grid of `shape` (k,j,i) about a centre in RAS mm."""
    start = Geometry.from_parts(shape, spacing, DIRECTIONS[direction], (0.0, 0.0, 0.0))
    return Geometry.from_parts(
        shape, spacing, DIRECTIONS[direction], np.array(centre) - start.centre
    )


def addVolume(scene, volume: Volume, name="volume", kind="vtkMRMLScalarVolumeNode"):
    node = scene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(toVtkMatrix(volume.geometry.affine))
    return node


def addLinear(scene, matrix, name="linear"):
    """A linear transform node; the matrix is to parent."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(toVtkMatrix(matrix))
    return node


def addTransform(scene, fromParent, name="transform"):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformFromParent(fromParent)
    return node


def rigid(angles=(8, -5, 12), shift=(4.0, -3.0, 6.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def smoothField(geometry: Geometry, size=3.0, seed=0) -> DisplacementField:
    """A few low waves of at most about `size` mm, in world RAS."""
    rng = np.random.default_rng(seed)
    points = geometry.points() / 60.0
    vectors = sum(
        np.sin(points @ rng.normal(size=3) * 2 + rng.uniform(0, 6))[..., None] * rng.normal(size=3)
        for _ in range(3)
    )
    vectors *= size / np.abs(vectors).max()
    return DisplacementField(vectors.astype(np.float32), geometry)


def thinPlate(size=4.0, seed=0):
    rng = np.random.default_rng(seed)
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in rng.uniform(-30, 30, size=(12, 3)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + rng.uniform(-size, size, size=3))
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    transform.SetSourceLandmarks(source)
    transform.SetTargetLandmarks(target)
    return transform


def bspline(size=4.0, seed=0):
    rng = np.random.default_rng(seed)
    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.SetOrigin(-60, -60, -60)
    image.SetSpacing(15, 15, 15)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    array = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    array[:] = rng.uniform(-size, size, size=array.shape)
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(image)
    transform.SetBorderModeToZero()
    return transform


def gridOf(field: DisplacementField):
    return gridTransform(finished(copied(field.vectors, 3)), field.geometry)


def loadedFor(result, movingNode=None):
    """A result as the worker prepares it for a moving node, in VTK's memory."""
    place = None if movingNode is None else matrixToWorld(movingNode)
    return finished(load(prepared(result, place, lengths=True, tolerance_voxels=0.0)))


def setTransform(node, field, linear=None, movingNode=None):
    """Fill a node with a field (fixed -> moving world) as publishing does."""
    place, tail = _placed(movingNode)
    setMapping(node, [*_parts(forward(field, _or_still(linear), place)), *tail])


def setInverse(node, field, linear=None, movingNode=None):
    """Fill a node with the inverse of a field (fixed -> moving world) as publishing does."""
    place, tail = _placed(movingNode)
    parts = _parts(forward(field, _or_still(linear), place))
    setInverseMapping(node, [*shared(parts), *tail])


def _or_still(linear):
    return np.eye(4) if linear is None else linear


def _placed(movingNode):
    """What a moving node is under: a 4x4, and a list of what bends."""
    if movingNode is None:
        return np.eye(4), []
    place, bending = matrixToWorld(movingNode), bend(movingNode)
    return _or_still(place), [] if bending is None else [bending]


def _parts(mapping):
    grid = gridOf(mapping.grid)
    return [grid] if mapping.matrix is None else [grid, linearTransform(mapping.matrix)]


def evaluate(transform, points) -> np.ndarray:
    """Points (..., 3) through a VTK transform, one by one."""
    flat = np.asarray(points, dtype=float).reshape(-1, 3)
    moved = np.array([transform.TransformPoint(point) for point in flat])
    return moved.reshape(np.shape(points))


def shape_at(points) -> np.ndarray:
    """Labels of an anatomy in space: 1 a ball, 2 an ellipsoid beside it, 0 elsewhere."""
    points = np.asarray(points, dtype=float)
    ball = np.linalg.norm(points - [-6.0, -2.0, 3.0], axis=-1) < 10
    other = np.linalg.norm((points - [12.0, -6.0, 8.0]) / [1.0, 1.4, 0.8], axis=-1) < 8
    return np.where(ball, 1, np.where(other, 2, 0)).astype(np.int16)


def dice(a, b) -> float:
    """The least Dice over the labels 1 and 2."""
    return min(
        2.0 * ((a == v) & (b == v)).sum() / ((a == v).sum() + (b == v).sum()) for v in (1, 2)
    )
