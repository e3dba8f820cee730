"""Transforms in and out of the real MRML scene: flattened chains in, grids that line up out."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from RegRefineBridge.mrml.transforms import fromWorld, initialFromNode, mappedGrid
from RegRefineBridge.mrml.volumes import ownVolume, sampled, volumeFromNode
from support.mrml import (
    DIRECTIONS,
    addLinear,
    addTransform,
    addVolume,
    bspline,
    dice,
    evaluate,
    grid,
    gridOf,
    newScene,
    rigid,
    setInverse,
    setTransform,
    shape_at,
    slicer,
    smoothField,
    thinPlate,
    vtk,
)

from RegRefineLib import field_padding as taper
from RegRefineLib.geometry import DisplacementField, Geometry, Volume


@pytest.fixture
def scene():
    return newScene()


def between(source, target):
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def mapping(geometry, matrix=None, size=3.0):
    """A field of a linear part (about the grid's middle) and some waves."""
    matrix = rigid((4, -3, 5), (3.0, -2.0, 4.0)) if matrix is None else matrix
    linear = DisplacementField.from_affine(matrix, geometry).vectors
    return DisplacementField(linear + smoothField(geometry, size).vectors, geometry), matrix


def under(scene, node, *transforms):
    """Put a node under a chain of transforms, the innermost first."""
    for transform in transforms:
        node.SetAndObserveTransformNodeID(transform.GetID())
        node = transform


def nearest(volume, points):
    """The values of the voxels nearest to points (..., 3), 0 outside."""
    index = np.round(volume.geometry.to_index(points))[..., ::-1].astype(int)
    inside = (index >= 0).all(axis=-1) & (index < volume.geometry.shape).all(axis=-1)
    values = np.zeros(points.shape[:-1], volume.array.dtype)
    values[inside] = volume.array[tuple(index[inside].T)]
    return values


PARENTS = {
    "none": lambda scene: [],
    "linear": lambda scene: [addLinear(scene, rigid())],
    "chain": lambda scene: [addLinear(scene, rigid()), addLinear(scene, rigid((0, 6, 0)))],
    "far": lambda scene: [addLinear(scene, rigid((0, 0, 80), (300.0, -150.0, 90.0)))],
    "bending": lambda scene: [addTransform(scene, gridOf(smoothField(grid(), 4.0, 5)))],
    "bending chain": lambda scene: [
        addTransform(scene, gridOf(smoothField(grid(), 4.0, 5))),
        addLinear(scene, rigid()),
    ],
}


# ---- in


@pytest.mark.parametrize("kind", ["grid", "thin plate", "B-spline", "chain", "inverse chain"])
def test_any_transform_node_is_flattened_as_vtk_evaluates_it(scene, kind):
    geometry = grid(direction="oblique")
    node = addTransform(
        scene,
        {"thin plate": thinPlate, "B-spline": bspline}.get(
            kind, lambda: gridOf(smoothField(grid()))
        )(),
    )
    if "chain" in kind:
        outer = addTransform(scene, bspline())
        under(scene, node, addLinear(scene, rigid()), outer)
    if kind == "inverse chain":
        node.Inverse()
    field = initialFromNode(node, geometry)
    chosen = tuple(np.random.default_rng(0).integers(0, n, 300) for n in geometry.shape)
    points = geometry.points()[chosen]
    expected = evaluate(between(None, node), points) - points
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(field.vectors[chosen], expected, atol=1e-5)
    np.testing.assert_array_equal(field.geometry.affine, geometry.affine)


def test_a_chain_of_linear_transforms_comes_as_one_matrix(scene):
    node = addLinear(scene, rigid())
    under(scene, node, addLinear(scene, np.diag([1.1, 1.0, 0.9, 1.0])))
    matrix = initialFromNode(node, grid())
    assert matrix.shape == (4, 4)
    point = (11.0, 12.0, 13.0)
    expected = between(None, node).TransformPoint(point)
    np.testing.assert_allclose((matrix @ [*point, 1.0])[:3], expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["linear", "bending"])
def test_a_start_that_the_moving_volume_is_under_already_adds_nothing(scene, kind):
    moving = addVolume(scene, Volume(np.zeros((4, 5, 6), np.float32), grid((4, 5, 6))))
    chain = PARENTS[kind](scene)
    under(scene, moving, *chain)
    start = initialFromNode(chain[0], grid(), moving)
    if kind == "linear":
        np.testing.assert_allclose(start, np.eye(4), atol=1e-12)
    else:
        assert np.abs(start.vectors).max() < 0.02  # the accuracy of VTK's inverse


def test_mapped_grids_are_exact_and_fast_in_one_call(scene):
    geometry = grid(direction="sagittal")
    np.testing.assert_allclose(
        mappedGrid(vtk.vtkGeneralTransform(), geometry), geometry.points(), atol=1e-12
    )


# ---- out


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_grid_is_exact_at_its_points_and_nothing_on_its_rim(scene, direction):
    geometry = grid(direction=direction)
    field = smoothField(geometry)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    setTransform(node, field)
    transform = node.GetTransformFromParent()
    assert transform.GetClassName() == "vtkOrientedGridTransform"
    index = np.random.default_rng(0).integers(0, geometry.shape, (300, 3))
    points = geometry.to_ras(index[:, ::-1])
    moved = evaluate(transform, points)
    np.testing.assert_allclose(moved, points + field.vectors[tuple(index.T)], rtol=0, atol=1e-5)
    array = slicer.util.arrayFromGridTransform(node)
    for axis in range(3):
        assert not np.take(array, [0, -1], axis=axis).any()
    far = points + 1000.0
    np.testing.assert_array_equal(evaluate(transform, far), far)


@pytest.mark.parametrize("ending", ["h5", "nrrd"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_slicer_and_itk_agree_everywhere_inside_and_outside(scene, tmp_path, direction, ending):
    geometry = grid(direction=direction)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    setTransform(node, mapping(geometry)[0])
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / f"out.{ending}"))
    assert storage.WriteData(node)
    if ending == "h5":
        itk = sitk.ReadTransform(storage.GetFileName())
    else:
        image = sitk.ReadImage(storage.GetFileName(), sitk.sitkVectorFloat64)
        itk = sitk.DisplacementFieldTransform(image)
    points = geometry.centre + np.random.default_rng(0).uniform(-55, 55, (400, 3))
    flip = np.array([-1.0, -1.0, 1.0])
    there = np.array([itk.TransformPoint((p * flip).tolist()) for p in points]) * flip
    here = evaluate(node.GetTransformFromParent(), points)
    assert (np.abs(here - points).max(axis=1) > 0.5).sum() > 50
    np.testing.assert_allclose(here, there, atol=1e-4)


@pytest.mark.parametrize("parents", PARENTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_moving_volume_under_the_transform_lines_up(scene, direction, parents):
    fixed = grid(direction=direction)
    field, linear = mapping(fixed)
    own = grid((44, 48, 52), (1.5, 1.5, 1.5), "sagittal" if direction == "axial" else "axial")
    chain = PARENTS[parents](scene)
    if parents == "far":  # scanned elsewhere; the parent brings it near the fixed volume
        away = np.linalg.inv(rigid((0, 0, 80), (300.0, -150.0, 90.0)))
        own = Geometry(own.shape, away @ own.affine)
    empty = Volume(np.zeros(own.shape, np.int16), own)
    moving = addVolume(scene, empty, "moving", "vtkMRMLLabelMapVolumeNode")
    under(scene, moving, *chain)
    local = ownVolume(moving).geometry
    up = between(chain[0] if chain else None, None)
    slicer.util.arrayFromVolume(moving)[:] = shape_at(evaluate(up, local.points()))
    down = evaluate(fromWorld(moving), fixed.points() + field.vectors)
    expected = nearest(ownVolume(moving), down)
    assert dice(shape_at(fixed.points()), expected) < 0.8

    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    setTransform(node, field, linear, moving)
    moving.SetAndObserveTransformNodeID(node.GetID())
    shown = sampled(ownVolume(moving), moving, fixed)
    assert dice(shown, expected) > 0.999
    moving.HardenTransform()  # on Slicer's own grid, hence a second nearest neighbour
    assert dice(sampled(ownVolume(moving), moving, fixed), expected) > 0.87


def test_a_large_linear_part_is_held_beside_a_small_grid_and_goes_on_outside(scene, monkeypatch):
    monkeypatch.setattr(taper, "SMALL_GRID_VOXELS", 0)
    fixed = grid()
    far = np.eye(4)
    far[:3, 3] = (200.0, -100.0, 50.0)
    field, _ = mapping(fixed, far)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    setTransform(node, field, far)
    transform = node.GetTransformFromParent()
    assert transform.GetClassName() == "vtkGeneralTransform"
    index = np.random.default_rng(0).integers(0, fixed.shape, (100, 3))
    points = fixed.to_ras(index[:, ::-1])
    expected = points + field.vectors[tuple(index.T)]
    np.testing.assert_allclose(evaluate(transform, points), expected, atol=1e-4)
    np.testing.assert_allclose(
        evaluate(transform, points + 1000.0), points + 1000.0 + far[:3, 3], atol=1e-9
    )


def test_what_the_moving_volume_is_under_may_change_afterwards(scene):
    moving = addVolume(scene, Volume(np.zeros((4, 5, 6), np.float32), grid((4, 5, 6))))
    parents = PARENTS["bending chain"](scene)
    under(scene, moving, *parents)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    setTransform(node, mapping(grid())[0], None, moving)
    before = node.GetTransformFromParent().TransformPoint(1.0, 2.0, 3.0)
    for parent in parents:
        scene.RemoveNode(parent)
    assert node.GetTransformFromParent().TransformPoint(1.0, 2.0, 3.0) == before


def test_refining_a_result_that_the_moving_volume_is_under_goes_on_from_there(scene):
    moving = addVolume(scene, Volume(np.zeros((4, 5, 6), np.float32), grid((4, 5, 6))))
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "out")
    first, second = smoothField(grid()), smoothField(grid(), 2.0, 7)
    setTransform(node, first, None, moving)
    moving.SetAndObserveTransformNodeID(node.GetID())
    one = evaluate(node.GetTransformFromParent(), [[1.0, 2.0, 3.0]])
    setTransform(node, second, None, moving)
    alone = gridOf(second).TransformPoint(1.0, 2.0, 3.0)
    expected = gridOf(first).TransformPoint(alone)
    np.testing.assert_allclose(
        node.GetTransformFromParent().TransformPoint(1, 2, 3), expected, atol=1e-4
    )
    assert not np.allclose(one, expected)


@pytest.mark.parametrize("parents", PARENTS)
def test_the_inverse_node_leads_back(scene, parents):
    fixed = grid()
    field, linear = mapping(fixed)
    moving = addVolume(scene, Volume(np.zeros((4, 5, 6), np.float32), grid((4, 5, 6))))
    under(scene, moving, *PARENTS[parents](scene))
    points = fixed.points()
    forward = scene.AddNewNodeByClass("vtkMRMLTransformNode", "forward")
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "inverse")
    setTransform(forward, field, linear, moving)
    setInverse(node, field, linear, moving)
    chosen = points[6:-6, 6:-6, 6:-6].reshape(-1, 3)[::37]
    local = evaluate(forward.GetTransformFromParent(), chosen)
    again = evaluate(node.GetTransformFromParent(), local)
    assert np.abs(again - chosen).max() < 0.005  # as exactly as VTK inverts


def test_the_warped_volume_of_a_hardened_copy_equals_the_hardened_volume(scene):
    """What volumeFromNode samples is what Slicer hardens, where both have voxels."""
    geometry = grid()
    moving = addVolume(scene, Volume(shape_at(geometry.points()).astype(np.float32), geometry))
    under(scene, moving, *PARENTS["bending"](scene))
    read = volumeFromNode(moving)
    moving.HardenTransform()
    theirs = sampled(ownVolume(moving), moving, geometry, order=1)
    ours = sampled(read, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), geometry, order=1)
    assert np.abs(ours - theirs).mean() < 0.01
