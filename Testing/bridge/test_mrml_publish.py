"""What a result becomes in the real MRML scene, the first time and the second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from RegRefineBridge.mrml.output_nodes import OUTPUTS, Sources, outputNode
from RegRefineBridge.mrml.publish import publish
from RegRefineBridge.mrml.segmentations import Labels, labelsFromNode, setSegments
from RegRefineBridge.mrml.tables import setHistory, setMetrics
from RegRefineBridge.mrml.transforms import bend, fromWorld, matrixToWorld
from RegRefineBridge.mrml.vtk_arrays import oriented
from RegRefineBridge.workflow.chunked import finished
from support.mrml import (
    addLinear,
    addTransform,
    addVolume,
    evaluate,
    grid,
    gridOf,
    loadedFor,
    newScene,
    rigid,
    shape_at,
    slicer,
    smoothField,
)

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import Job, Result

ALL = tuple(OUTPUTS)
GRID = grid()
NAMES = {1: "ball", 2: "ellipsoid"}
COLOURS = {1: (0.25, 0.5, 0.75), 2: (1.0, 0.0, 0.5)}


@pytest.fixture
def scene():
    return newScene()


def resultOf(seed=0, **changes):
    field = smoothField(GRID, 3.0, seed)
    labels = shape_at(GRID.points() + field.vectors)
    values = {
        "field": field,
        "affine": rigid((0, 0, 0), (1.0, 2.0, 3.0)),
        "warped": Volume(labels.astype(np.float32) + seed, GRID),
        "warped_labels": Volume(labels, GRID),
        "inverse": DisplacementField(-field.vectors, GRID),
        "inverse_error_mm": 0.1,
        "jacobian": Volume(np.ones(GRID.shape, np.float32), GRID),
        "before": {"dice": {"mean": 0.5, "1": 0.4, "2": 0.6}, "ncc": 0.1, "vanished_labels": []},
        "affine_only": {"dice": {"mean": 0.6, "1": 0.5, "2": None}},
        "after": {"dice": {"mean": 0.8, "1": 0.7, "2": 0.9}, "ncc": 0.3, "folds_percent": 0.0},
        "history": [{"step": 0, "total": 1.0, "dice": 0.5}, {"step": 1, "total": 0.5, "dice": 0.8}],
        "seconds": {},
        "peak_memory_mb": 1.0,
        "versions": {},
        "device": "cpu",
        "job": Job(),
        "warnings": [],
    }
    return Result(**{**values, **changes})


def result(seed=0, movingNode=None, **changes):
    """The same as the bridge gets it."""
    return loadedFor(resultOf(seed, **changes), movingNode)


def sources(scene):
    fixed = addVolume(scene, Volume(np.zeros(GRID.shape, np.float32), GRID), "CT")
    moving = addVolume(scene, Volume(np.zeros(GRID.shape, np.float32), GRID), "MR")
    labels = Labels(Volume(shape_at(GRID.points()), GRID), NAMES, COLOURS)
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPoint(1.0, 2.0, 3.0, "tip")
    points.AddControlPoint(-9.0, 4.0, 5.0, "base")
    return Sources(fixed, moving, labels, labels, points)


def placed(given):
    """The same sources as they are read while the moving volume is under what it is under."""
    place = matrixToWorld(given.moving)
    return replace(given, bend=bend(given.moving), movingToWorld=place)


def rows(tableNode):
    table = tableNode.GetTable()
    columns = range(table.GetNumberOfColumns())
    return [
        [table.GetValue(r, c).ToString() for c in columns] for r in range(table.GetNumberOfRows())
    ]


def test_every_output_is_made_and_found_from_the_transform_node(scene):
    given = sources(scene)
    nodes = publish(scene, result(), given, ALL)
    assert set(nodes) == set(OUTPUTS) - {"jacobianColours"}
    anchor = nodes["transform"]
    for output, node in nodes.items():
        assert node.IsA(OUTPUTS[output][0])
        assert output == "transform" or outputNode(anchor, output) is node
    kind = slicer.vtkMRMLTransformNode
    assert anchor.GetNodeReference(kind.GetFixedNodeReferenceRole()) is given.fixed
    assert anchor.GetNodeReference(kind.GetMovingNodeReferenceRole()) is given.moving
    assert nodes["inverse"].GetNodeReference(kind.GetFixedNodeReferenceRole()) is given.moving
    assert "MR" in nodes["warpedVolume"].GetName()


def test_only_what_is_wanted_and_to_be_had_is_made(scene):
    empty = result(warped_labels=None, inverse=None, jacobian=None, history=[])
    assert set(publish(scene, empty, sources(scene), ALL)) == {
        "transform",
        "linear",
        "warpedVolume",
        "warpedLandmarks",
        "displacement",
        "metrics",
    }
    assert set(publish(scene, result(), sources(scene), ())) == {"transform"}


def test_a_second_run_fills_the_same_nodes(scene):
    given = sources(scene)
    first = publish(scene, result(0), given, ALL)
    count = scene.GetNumberOfNodes()
    second = publish(scene, result(1), given, ALL, {"transform": first["transform"]})
    assert all(second[output] is node for output, node in first.items())
    assert scene.GetNumberOfNodes() == count
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(second["warpedVolume"]), resultOf(1).warped.array
    )
    point = GRID.to_ras((15, 13, 11))
    np.testing.assert_allclose(
        second["transform"].GetTransformFromParent().TransformPoint(point),
        point + smoothField(GRID, 3.0, 1).vectors[11, 13, 15],
        atol=1e-5,
    )


def test_outputs_that_were_deleted_come_again_alone(scene):
    given = sources(scene)
    first = publish(scene, result(), given, ALL)
    scene.RemoveNode(first["warpedVolume"])
    scene.RemoveNode(first["chart"])
    second = publish(scene, result(), given, ALL, {"transform": first["transform"]})
    assert second["warpedVolume"].GetScene() is scene
    assert second["chart"].GetNumberOfPlotSeriesNodes() == 2
    assert second["metrics"] is first["metrics"]


def test_chosen_nodes_receive_the_outputs(scene):
    given = sources(scene)
    mine = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    mine.SetAndObserveTransformNodeID(addLinear(scene, rigid()).GetID())
    nodes = publish(scene, result(), given, ("warpedVolume",), {"warpedVolume": mine})
    assert nodes["warpedVolume"] is mine
    assert mine.GetParentTransformNode() is None  # its voxels are in the world now


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_inputs_are_never_overwritten(scene, which):
    given = sources(scene)
    with pytest.raises(RegRefineError, match="inputs are never changed"):
        publish(scene, result(), given, ALL, {"warpedVolume": getattr(given, which)})


def test_a_transform_above_the_fixed_volume_is_not_overwritten(scene):
    given = sources(scene)
    inner, outer = addLinear(scene, rigid()), addTransform(scene, gridOf(smoothField(GRID)))
    given.fixed.SetAndObserveTransformNodeID(inner.GetID())
    inner.SetAndObserveTransformNodeID(outer.GetID())
    with pytest.raises(RegRefineError, match="the fixed volume is under"):
        publish(scene, result(), given, ALL, {"transform": outer})


@pytest.mark.parametrize("which", ["fixed", "moving"])
def test_an_input_removed_during_the_run_is_told_and_nothing_is_made(scene, which):
    given = sources(scene)
    scene.RemoveNode(getattr(given, which))
    count = scene.GetNumberOfNodes()
    with pytest.raises(RegRefineError, match=f"{which} volume: .* was removed from the scene"):
        publish(scene, result(), given, ALL)
    assert scene.GetNumberOfNodes() == count


def test_a_closed_scene_is_told(scene):
    given = sources(scene)
    scene.Clear(False)
    with pytest.raises(RegRefineError, match="was removed from the scene"):
        publish(scene, result(), given, ALL)


def test_landmarks_removed_during_the_run_are_left_out(scene):
    given = sources(scene)
    scene.RemoveNode(given.movingLandmarks)
    assert "warpedLandmarks" not in publish(scene, result(), given, ALL)


def test_outputs_lie_in_the_fixed_volumes_study_and_stay_where_they_are_moved(scene):
    given = sources(scene)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = tree.CreateStudyItem(tree.CreateSubjectItem(tree.GetSceneItemID(), "patient"), "study")
    tree.CreateItem(study, given.fixed)
    nodes = publish(scene, result(), given, ALL)
    for node in nodes.values():
        assert tree.GetItemParent(tree.GetItemByDataNode(node)) == study
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "mine")
    item = tree.GetItemByDataNode(nodes["warpedVolume"])
    tree.SetItemParent(item, folder)
    publish(scene, result(), given, ALL, {"transform": nodes["transform"]})
    assert tree.GetItemParent(item) == folder
    assert tree.GetItemByDataNode(nodes["warpedVolume"]) == item


def test_a_bare_scene_without_items_gets_them_at_its_root(scene):
    nodes = publish(scene, result(), sources(scene), ())
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = tree.GetItemByDataNode(nodes["transform"])
    assert tree.GetItemParent(item) == tree.GetSceneItemID()


def test_the_warped_volume_looks_like_the_moving_one_until_the_user_changes_it(scene):
    given = sources(scene)
    given.moving.CreateDefaultDisplayNodes()
    given.moving.GetDisplayNode().SetAutoWindowLevel(False)
    given.moving.GetDisplayNode().SetWindowLevel(350.0, 40.0)
    nodes = publish(scene, result(), given, ALL)
    display = nodes["warpedVolume"].GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (350.0, 40.0)
    display.SetWindowLevel(100.0, 10.0)
    publish(scene, result(), given, ALL, {"transform": nodes["transform"]})
    assert (display.GetWindow(), display.GetLevel()) == (100.0, 10.0)


def test_the_warped_segmentation_keeps_names_colours_and_shapes(scene):
    node = publish(scene, result(), sources(scene), ALL)["warpedSegmentation"]
    again = labelsFromNode(node, GRID)
    assert again.names == NAMES
    assert again.colours == COLOURS
    np.testing.assert_array_equal(again.volume.array, resultOf().warped_labels.array)


def test_segments_keep_how_they_are_shown_on_a_second_run(scene):
    given = sources(scene)
    nodes = publish(scene, result(0), given, ALL)
    node = nodes["warpedSegmentation"]
    first = node.GetSegmentation().GetNthSegmentID(0)
    node.GetDisplayNode().SetSegmentVisibility(first, False)
    publish(scene, result(1), given, ALL, {"transform": nodes["transform"]})
    assert not node.GetDisplayNode().GetSegmentVisibility(first)
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    np.testing.assert_array_equal(
        labelsFromNode(node, GRID).volume.array, resultOf(1).warped_labels.array
    )


def test_other_structures_replace_the_segments(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    volume = Volume(shape_at(GRID.points()), GRID)
    setSegments(node, finished(oriented(volume)), (1, 2), NAMES, COLOURS)
    other = Volume(volume.array * 300, GRID)
    setSegments(node, finished(oriented(other)), (300, 600), {300: "other"}, {})
    again = labelsFromNode(node, GRID)
    assert list(again.names.values()) == ["other", "label 600"]
    np.testing.assert_array_equal(again.volume.array, volume.array)


def test_landmarks_are_moved_onto_the_fixed_volume(scene):
    given = sources(scene)
    given.moving.SetAndObserveTransformNodeID(addLinear(scene, rigid()).GetID())
    done = resultOf()
    given = placed(given)
    node = publish(scene, result(0, given.moving), given, ALL)["warpedLandmarks"]
    positions = np.zeros((2, 3))
    for index in range(2):
        node.GetNthControlPointPosition(index, positions[index])
    assert [node.GetNthControlPointLabel(i) for i in range(2)] == ["tip", "base"]
    there = evaluate(gridOf(done.field), positions)  # fixed world -> moving world
    np.testing.assert_allclose(there, [[1.0, 2.0, 3.0], [-9.0, 4.0, 5.0]], atol=0.01)


def test_the_jacobian_is_shown_white_where_nothing_changed(scene):
    node = publish(scene, result(), sources(scene), ALL)["jacobian"]
    display = node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (2.0, 1.0)
    colour = [0.0, 0.0, 0.0]
    display.GetColorNode().GetColorTransferFunction().GetColor(1.0, colour)
    assert colour == [1.0, 1.0, 1.0]


def test_the_displacement_volume_holds_lengths_in_mm(scene):
    done = resultOf()
    node = publish(scene, result(), sources(scene), ALL)["displacement"]
    expected = np.sqrt((done.field.vectors**2).sum(axis=-1))
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), expected, rtol=1e-5)


def test_the_table_has_a_row_for_each_structure_and_figure(scene):
    node = publish(scene, result(), sources(scene), ALL)["metrics"]
    assert rows(node) == [
        ["all", "dice", "0.5", "0.6", "0.8"],
        ["ball", "dice", "0.4", "0.5", "0.7"],
        ["ellipsoid", "dice", "0.6", "nan", "0.9"],
        ["all", "ncc", "0.1", "nan", "0.3"],
        ["all", "folds_percent", "nan", "nan", "0"],
    ]


def test_a_table_of_labels_without_names_uses_their_numbers(scene):
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "t")
    setMetrics(node, {"after": {"dice": {"7": 0.5}}}, {})
    assert rows(node) == [["label 7", "dice", "0.5"]]


def test_the_chart_has_a_line_for_the_loss_and_one_for_dice(scene):
    nodes = publish(scene, result(), sources(scene), ALL)
    chart = nodes["chart"]
    lines = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [line.GetYColumnName() for line in lines] == ["total", "dice"]
    assert all(line.GetTableNode() is nodes["history"] for line in lines)
    assert rows(nodes["history"]) == [["0", "1", "0.5"], ["1", "0.5", "0.8"]]


def test_a_chart_that_grows_during_a_run_keeps_its_nodes(scene):
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    records = []
    for step in range(5):
        records.append({"total": 1.0 / (step + 1), "smoothness": 0.1})
        setHistory(chart, table, records)
        if step == 0:
            count = scene.GetNumberOfNodes()
    assert scene.GetNumberOfNodes() == count
    assert rows(table)[-1][:2] == ["4", "0.2"]


@pytest.mark.parametrize("parents", ["none", "linear", "bending"])
def test_the_linear_part_leads_from_the_fixed_world_to_the_moving_node(scene, parents):
    given = sources(scene)
    if parents != "none":
        above = (
            addLinear(scene, rigid())
            if parents == "linear"
            else addTransform(scene, gridOf(smoothField(GRID, 4.0, 5)))
        )
        given.moving.SetAndObserveTransformNodeID(above.GetID())
    given = placed(given)
    node = publish(scene, result(0, given.moving), given, ("linear",))["linear"]
    point = np.array([5.0, 6.0, 7.0])
    expected = fromWorld(given.moving).TransformPoint(point + np.array([1.0, 2.0, 3.0]))
    there = node.GetTransformFromParent().TransformPoint(point)
    np.testing.assert_allclose(there, expected, atol=1e-5)


def test_new_volumes_are_shown_in_windows_that_fit(scene):
    """Set before the images come, so that Slicer does not search their voxels for one."""
    given = sources(scene)
    given.moving.CreateDefaultDisplayNodes()
    nodes = publish(scene, result(after={"largest_mm": 6.0}), given, ALL)
    windows = {"jacobian": (2.0, 1.0), "displacement": (6.0, 3.0)}
    for output, window in windows.items():
        display = nodes[output].GetDisplayNode()
        assert not display.GetAutoWindowLevel()
        assert (display.GetWindow(), display.GetLevel()) == window
    assert not nodes["warpedVolume"].GetDisplayNode().GetAutoWindowLevel()


def test_every_output_is_handed_over_without_a_copy(scene):
    loaded = result()
    nodes = publish(scene, loaded, sources(scene), ALL)
    assert nodes["transform"].GetTransformFromParent() is loaded.transform[0]
    assert nodes["warpedVolume"].GetImageData() is loaded.warped.data
    assert nodes["jacobian"].GetImageData() is loaded.jacobian.data
    assert nodes["displacement"].GetImageData() is loaded.displacement.data
