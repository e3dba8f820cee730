"""The presenter's scene on real MRML: what is missing, fingerprints, reading, putting back."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from RegRefineBridge.mrml.output_nodes import OUTPUTS
from RegRefineBridge.mrml.scene import MrmlScene
from RegRefineBridge.mrml.segments_out import setSegments
from RegRefineBridge.mrml.structures import Structure
from RegRefineBridge.mrml.vtk_arrays import oriented
from RegRefineBridge.workflow.chunked import finished
from RegRefineBridge.workflow.interfaces import Inputs, Request
from RegRefineBridge.workflow.results import Current, Results
from support.mrml import (
    addLinear,
    addTransform,
    addVolume,
    grid,
    gridOf,
    newScene,
    rigid,
    shape_at,
    slicer,
    vtk,
)
from support.worker_behaviours import result_of

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import Job
from RegRefineLib.worker.job_folder import write_result
from RegRefineLib.worker.scene_result import prepared


@pytest.fixture
def world():
    return World()


class World:
    """A scene with a fixed and a moving volume, their label maps and landmarks."""

    def __init__(self):
        self.mrml = newScene()
        self.scene = MrmlScene(self.mrml)
        self.volume = Volume(np.random.default_rng(0).random((6, 7, 8)), grid((6, 7, 8)))
        self.fixed = addVolume(self.mrml, self.volume, "fixed")
        self.moving = addVolume(self.mrml, self.volume, "moving")
        self.labels = Volume(shape_at(self.volume.geometry.points()), self.volume.geometry)
        self.labels.array.flags.writeable = True

    def addLabels(self, name="labels"):
        return addVolume(self.mrml, self.labels, name, "vtkMRMLLabelMapVolumeNode")

    def addPoints(self, count, name="points"):
        node = self.mrml.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for index in range(count):
            node.AddControlPoint(float(index), 0.0, 0.0)
        return node

    def inputs(self, **others):
        return Inputs(self.fixed, self.moving, **others)


def test_what_is_missing_is_said_in_words(world):
    empty = world.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert world.scene.missing(world.inputs()) == []
    assert len(world.scene.missing(Inputs())) == 2
    assert "same" in world.scene.missing(Inputs(world.fixed, world.fixed))[0]
    assert "empty has no voxels" in world.scene.missing(Inputs(world.fixed, empty))[0]
    world.mrml.RemoveNode(world.moving)
    assert "removed" in world.scene.missing(world.inputs())[0]


def test_landmarks_must_be_pairs(world):
    three, two = world.addPoints(3), world.addPoints(2)
    assert world.scene.missing(world.inputs(fixedLandmarks=three, movingLandmarks=three)) == []
    assert world.scene.missing(world.inputs(movingLandmarks=three)) == []
    assert "moving landmarks" in world.scene.missing(world.inputs(fixedLandmarks=three))[0]
    words = world.scene.missing(world.inputs(fixedLandmarks=three, movingLandmarks=two))[0]
    assert "3" in words
    assert "2" in words


def test_the_size_is_known_without_reading(world):
    size = world.scene.size(world.inputs())
    assert size.fixedVoxels == 6 * 7 * 8
    assert size.spacing == pytest.approx((2.0, 2.0, 2.5))
    assert world.scene.size(Inputs(world.fixed)) is None


def test_the_fingerprint_changes_with_data_and_place_alone(world):
    labels, points = world.addLabels(), world.addPoints(2)
    linear = addLinear(world.mrml, rigid())
    inputs = world.inputs(fixedSegmentation=labels, movingLandmarks=points, initialTransform=linear)
    seen = [world.scene.fingerprint(inputs)]
    world.fixed.SetName("another name")
    assert world.scene.fingerprint(inputs) == seen[0]

    def changed(change):
        change()
        seen.append(world.scene.fingerprint(inputs))
        assert len(set(seen)) == len(seen)

    changed(lambda: slicer.util.arrayFromVolumeModified(world.moving))
    changed(lambda: slicer.util.arrayFromVolumeModified(labels))
    changed(lambda: world.moving.SetSpacing(1, 2, 3))
    changed(lambda: points.SetNthControlPointPosition(0, 9, 9, 9))
    changed(lambda: linear.SetMatrixTransformToParent(_matrix(rigid((1, 2, 3)))))
    changed(lambda: world.moving.SetAndObserveTransformNodeID(linear.GetID()))
    changed(lambda: linear.SetMatrixTransformToParent(_matrix(rigid((3, 2, 1)))))
    world.mrml.RemoveNode(points)
    assert world.scene.fingerprint(inputs) is None


def _matrix(array):
    from RegRefineBridge.mrml.transforms import toVtkMatrix

    return toVtkMatrix(array)


def test_the_fingerprint_sees_a_painted_segmentation(world):
    node = world.mrml.AddNewNodeByClass("vtkMRMLSegmentationNode")
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(
        world.addLabels(), node
    )
    inputs = world.inputs(movingSegmentation=node)
    before = world.scene.fingerprint(inputs)
    assert world.scene.fingerprint(inputs) == before
    image = node.GetSegmentation().GetLayerDataObject(0, "Binary labelmap")
    image.GetPointData().GetScalars().Modified()
    image.Modified()
    assert world.scene.fingerprint(inputs) != before


def test_everything_is_read(world):
    labels, points = world.addLabels(), world.addPoints(2)
    material = world.scene.read(
        world.inputs(
            fixedSegmentation=labels,
            movingSegmentation=labels,
            fixedMask=labels,
            movingMask=labels,
            fixedLandmarks=points,
            movingLandmarks=points,
            initialTransform=addLinear(world.mrml, rigid()),
        )
    )
    assert np.array_equal(material.fixed.array, world.volume.array)
    assert np.array_equal(material.extras.fixed_labels.array, world.labels.array)
    assert set(np.unique(material.extras.moving_mask.array)) == {0, 1}
    assert material.extras.fixed_landmarks.shape == (2, 3)
    assert np.allclose(material.extras.initial, np.linalg.inv(rigid()))
    assert material.sources.movingLabels.names
    assert material.sources.movingLabels.volume.array.size == 1  # the session keeps names alone


def test_moving_landmarks_alone_are_for_warping_only(world):
    points = world.addPoints(2)
    material = world.scene.read(world.inputs(movingLandmarks=points))
    assert material.extras.moving_landmarks is None
    assert material.sources.movingLandmarks is points


def test_an_empty_mask_is_said(world):
    world.labels.array[:] = 0
    with pytest.raises(RegRefineError, match="fixed mask"):
        world.scene.read(world.inputs(fixedMask=world.addLabels()))


def publish(world, request, value):
    result = result_of(world.volume, Job(), value, [{"step": 0.0, "total": 1.0}])
    memento = world.scene.remember(request)
    material = world.scene.read(request.inputs)
    loaded = finished(world.scene.load(prepared(result, material.movingToWorld)))
    return finished(world.scene.publish(loaded, request, material.sources, {})), memento


def fieldAt(node, point=(3.0, -4.0, 5.0)):
    moved = node.GetTransformFromParent().TransformPoint(point)
    return np.array(moved) - point


def test_a_publication_is_undone_node_by_node(world):
    wanted = ("transform", "warpedVolume", "metrics", "chart")
    count = world.mrml.GetNumberOfNodes()
    nodes, memento = publish(world, Request(world.inputs(), Job(), wanted), 1.0)
    assert set(wanted) <= set(nodes)
    assert world.mrml.GetNumberOfNodes() > count
    world.scene.putBack(nodes, memento)
    left = [node.GetClassName() for node in _nodes(world.mrml)]
    assert left[:count] == ["vtkMRMLScalarVolumeNode"] * count
    assert set(left[count:]) <= {"vtkMRMLSubjectHierarchyNode"}


def test_a_chosen_transform_is_given_back_what_it_held(world):
    mine = addLinear(world.mrml, rigid())
    plain = world.mrml.AddNewNodeByClass("vtkMRMLTransformNode", "mine")
    plain.SetAndObserveTransformFromParent(mine.GetTransformFromParent())
    before = fieldAt(plain)
    request = Request(world.inputs(), Job(), ("transform",), {"transform": plain})
    nodes, memento = publish(world, request, 1.0)
    assert nodes["transform"] is plain
    assert np.allclose(fieldAt(plain), 1.0, atol=1e-3)
    world.scene.putBack(nodes, memento)
    assert plain.GetScene() is not None
    assert np.allclose(fieldAt(plain), before)
    assert plain.GetName() == "mine"


def test_a_chosen_node_that_was_removed_is_replaced_by_a_new_one(world):
    mine = world.mrml.AddNewNodeByClass("vtkMRMLTransformNode", "mine")
    request = Request(world.inputs(), Job(), ("transform",), {"transform": mine})
    world.mrml.RemoveNode(mine)
    nodes, _ = publish(world, request, 1.0)
    assert nodes["transform"] is not mine
    assert nodes["transform"].GetScene() is world.mrml


@pytest.mark.parametrize("output", ["warpedVolume", "warpedSegmentation"])
def test_an_input_chosen_as_an_output_is_refused_before_the_run(world, output):
    labels = world.addLabels()
    inputs = world.inputs(movingSegmentation=labels)
    chosen = {output: inputs.moving if output == "warpedVolume" else labels}
    sentences = world.scene.refused(Request(inputs, Job(), (output,), chosen))
    assert "inputs are never changed" in sentences[0]
    assert world.scene.refused(Request(inputs, Job(), (output,))) == []


def test_what_only_the_undone_run_made_goes_when_the_run_before_is_back(world, tmp_path):
    results = Results(world.scene)
    request = Request(world.inputs(), Job(), ("transform", "warpedVolume"))
    runs = []
    for name, wanted in (("first", ()), ("second", ("linear", "metrics"))):
        chosen = {"transform": runs[0].nodes["transform"]} if runs else {}
        request = replace(request, wanted=(*request.wanted, *wanted), chosen=chosen)
        material = world.scene.read(request.inputs)
        (tmp_path / name).mkdir()
        write_result(tmp_path / name, prepared(result_of(world.volume, Job(), 1.0)))
        place = world.scene.fingerprint(request.inputs)
        current = Current(request, material.sources, tmp_path / name, place)
        runs.append(finished(results.publish(current, stopped=False, previous=len(runs))))
    back = results.undo(runs[1])
    assert back.nodes["transform"] is runs[0].nodes["transform"]
    assert runs[1].nodes["linear"].GetScene() is None
    assert runs[1].nodes["metrics"].GetScene() is None
    assert all(node.GetScene() is world.mrml for node in back.nodes.values())


def test_a_revert_needs_no_moving_volume(world, tmp_path):
    """What a run replaced is kept as it was; the earlier run is not computed or published again."""
    results = Results(world.scene)
    request = Request(world.inputs(), Job(), ("transform", "warpedVolume", "metrics"))
    first = publishRun(world, results, tmp_path / "first", request, 1.0, 0)
    again = replace(request, chosen={"transform": first.nodes["transform"]})
    second = publishRun(world, results, tmp_path / "second", again, 5.0, 1)
    assert np.allclose(fieldAt(first.nodes["transform"]), 5.0, atol=1e-3)
    world.mrml.RemoveNode(world.moving)
    assert results.undo(second) is first
    assert np.allclose(fieldAt(first.nodes["transform"]), 1.0, atol=1e-3)
    table = first.nodes["metrics"].GetTable()
    assert table.GetNumberOfRows() == 1


def publishRun(world, results, folder, request, value, previous):
    material = world.scene.read(request.inputs)
    folder.mkdir()
    write_result(folder, prepared(result_of(world.volume, Job(), value)))
    place = world.scene.fingerprint(request.inputs)
    current = Current(request, material.sources, folder, place)
    return finished(results.publish(current, stopped=False, previous=previous))


def test_a_reverted_run_can_be_put_back_and_leaves_no_node_behind(world, tmp_path):
    results = Results(world.scene)
    request = Request(world.inputs(), Job(), tuple(OUTPUTS))
    run = publishRun(world, results, tmp_path / "run", request, 2.0, 0)
    with errorsOf(world.mrml) as errors:
        assert results.undo(run) is None
    assert not errors
    assert all(node.GetScene() is None for node in run.nodes.values())
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(world.mrml)
    assert not tree.GetNumberOfItemChildren(tree.GetSceneItemID())  # its folder has gone as well
    left = world.mrml.GetNumberOfNodes()
    run = results.again(run)
    assert np.allclose(fieldAt(run.nodes["transform"]), 2.0, atol=1e-3)
    assert results.undo(run) is None
    assert world.mrml.GetNumberOfNodes() == left


@contextmanager
def errorsOf(scene):
    """Collect what VTK prints as errors: a double removal says "Invalid scene given"."""
    window, heard = vtk.vtkStringOutputWindow(), []
    former = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    try:
        yield heard
    finally:
        vtk.vtkOutputWindow.SetInstance(former)
        heard.extend(line for line in window.GetOutput().splitlines() if "ERROR" in line)


def test_138_structures_are_reverted_without_a_pause(world, tmp_path):
    """Each segment that went took its voxels out of the shared label map: 2 s in all."""
    shape = (96, 112, 128)
    image = Volume(np.zeros(shape, np.float32), grid(shape))
    fixed = addVolume(world.mrml, image, "brain")
    moving = addVolume(world.mrml, image, "other brain")
    blocks = [np.arange(n) // 16 for n in shape]
    array = blocks[0][:, None, None] * 56 + blocks[1][:, None] * 8 + blocks[2]
    labels = Volume((array % 138 + 1).astype(np.uint8), image.geometry)
    segments = addVolume(world.mrml, labels, "labels", "vtkMRMLLabelMapVolumeNode")
    results = Results(world.scene)
    inputs = Inputs(fixed, moving, movingSegmentation=segments)
    request = Request(inputs, Job(), ("transform", "warpedSegmentation"))
    runs, longest = [], 0.0
    for number in range(2):
        chosen = {"transform": runs[0].nodes["transform"]} if runs else {}
        request = replace(request, chosen=chosen)
        material = world.scene.read(inputs)
        result = result_of(image, Job(), 1.0 + number)
        object.__setattr__(result, "warped_labels", labels)
        folder = tmp_path / str(number)
        folder.mkdir()
        write_result(folder, prepared(result))
        place = world.scene.fingerprint(inputs)
        current = Current(request, material.sources, folder, place)
        run, gap = timedSteps(results.publish(current, stopped=False, previous=number))
        runs.append(run)
        longest = max(longest, gap)
    for run in reversed(runs):
        began = time.thread_time()
        results.undo(run)
        longest = max(longest, time.thread_time() - began)
    began = time.thread_time()
    results.history.clear()
    longest = max(longest, time.thread_time() - began)
    print(f"longest step with 138 structures: {1000 * longest:.0f} ms")
    assert longest < 0.2


def timedSteps(steps):
    """What comes of steps, and the longest of them in seconds of this thread."""
    longest = 0.0
    while True:
        began = time.thread_time()
        try:
            next(steps)
        except StopIteration as end:
            return end.value, max(longest, time.thread_time() - began)
        longest = max(longest, time.thread_time() - began)


def test_a_node_that_holds_something_else_is_named_before_it_is_overwritten(world, tmp_path):
    results = Results(world.scene)
    request = Request(world.inputs(), Job(), ("transform", "warpedVolume"))
    nodes = publishRun(world, results, tmp_path / "run", request, 1.0, 0).nodes
    assert world.scene.overwritten(replace(request, chosen=nodes)) == []
    third = addVolume(world.mrml, world.volume, "third")
    other = replace(request, inputs=Inputs(world.fixed, third), chosen=nodes)
    sentences = world.scene.overwritten(other)
    assert len(sentences) == 2
    assert "holds the result of moving to fixed" in sentences[0]
    mine = addVolume(world.mrml, world.volume, "mine")
    empty = world.mrml.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    chosen = {"warpedVolume": mine, "jacobian": empty}
    assert world.scene.overwritten(replace(other, chosen=chosen)) == [
        "mine is not empty; its content will be replaced."
    ]
    # the names of the new nodes follow the new volumes
    new = results.ofThisPair(other)
    assert new.chosen == {}
    made = publishRun(world, results, tmp_path / "third", new, 1.0, 1).nodes
    assert made["transform"].GetName() == "third to fixed"
    assert made["warpedVolume"].GetName() == "third warped"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("moving", "moving: a scalar volume is needed, got 'mov'"),
        ("fixedSegmentation", "fixedSegmentation: a segmentation or a label map is needed, got"),
        ("initialTransform", "initialTransform: a transform is needed, got"),
    ],
)
def test_a_text_in_place_of_a_node_is_named(world, name, words):
    inputs = replace(world.inputs(), **{name: "mov"})
    assert words in world.scene.missing(inputs)[0]


def test_a_node_of_another_kind_is_named(world):
    transform = addLinear(world.mrml, rigid())
    words = world.scene.missing(world.inputs(movingMask=transform))[0]
    assert words == (
        "movingMask: a segmentation, a label map or an ROI is needed, and linear is a "
        "LinearTransform."
    )


def test_segmentations_without_common_names_come_with_a_sentence(world):
    nodes = []
    for name in ("liver", "spleen"):
        node = world.mrml.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        structures = {1: Structure(name, (1, 0, 0)), 2: Structure(f"{name} vein", (0, 1, 0))}
        setSegments(node, finished(oriented(world.labels)), (1, 2), structures)
        nodes.append(node)
    inputs = world.inputs(fixedSegmentation=nodes[0], movingSegmentation=nodes[1])
    remarks = world.scene.read(inputs).remarks
    assert "No structure of the two segmentations has the same name" in remarks[0]
    assert "liver" in remarks[0]
    assert world.scene.read(world.inputs(fixedSegmentation=nodes[0])).remarks == ()


@pytest.mark.parametrize("parent", ["none", "linear", "bending"])
def test_an_roi_is_a_mask(world, parent):
    roi = world.mrml.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(3.0, -4.0, 5.0)
    roi.SetSize(6.0, 8.0, 5.0)
    shift = np.array([2.0, 0.0, 0.0]) if parent != "none" else np.zeros(3)
    if parent == "linear":
        roi.SetAndObserveTransformNodeID(addLinear(world.mrml, rigid((0, 0, 0), shift)).GetID())
    elif parent == "bending":
        field = DisplacementField(
            np.broadcast_to(-shift, (9, 9, 9, 3)), grid((9, 9, 9), (20.0, 20.0, 20.0))
        )
        node = addTransform(world.mrml, gridOf(field))
        roi.SetAndObserveTransformNodeID(node.GetID())
    mask = world.scene.read(world.inputs(fixedMask=roi)).extras.fixed_mask.array
    points = world.volume.geometry.points() - shift - np.array([3.0, -4.0, 5.0])
    expected = (np.abs(points) <= np.array([3.0, 4.0, 2.5]) + 1e-6).all(axis=-1)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(mask != 0, expected)
    before = world.scene.fingerprint(world.inputs(fixedMask=roi))
    roi.SetSize(6.0, 8.0, 6.0)
    assert world.scene.fingerprint(world.inputs(fixedMask=roi)) != before


def _nodes(scene):
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
