"""What a result becomes in the real MRML scene, the first time and the second."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from RegRefineBridge.mrml.output_nodes import (
    HELPERS,
    OUTPUTS,
    Sources,
    isOutput,
    outputNode,
    pairOf,
)
from RegRefineBridge.mrml.publish import publish
from RegRefineBridge.mrml.segmentations import labelsFromNode
from RegRefineBridge.mrml.segments_out import setSegments
from RegRefineBridge.mrml.structures import Labels, Structure
from RegRefineBridge.mrml.tables import setHistory, setMetrics
from RegRefineBridge.mrml.transforms import bend, fromWorld, matrixToWorld
from RegRefineBridge.mrml.volumes import ownVolume, sampled
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
STRUCTURES = {value: Structure(NAMES[value], COLOURS[value]) for value in NAMES}


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
    labels = Labels(Volume(shape_at(GRID.points()), GRID), STRUCTURES)
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
    assert set(nodes) == set(OUTPUTS)
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
    empty = result(warped_labels=None, jacobian=None, history=[])
    assert set(publish(scene, empty, sources(scene), ALL)) == {
        "transform",
        "inverse",
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
    parents = {
        name: tree.GetItemParent(tree.GetItemByDataNode(node)) for name, node in nodes.items()
    }
    details = parents["metrics"]  # a folder in the same study for what only helps
    assert tree.GetItemParent(details) == study
    for name in set(nodes) - {"jacobianColours"}:
        assert parents[name] == (details if name in HELPERS else study)
    assert not parents["jacobianColours"]
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
    setSegments(node, finished(oriented(volume)), (1, 2), STRUCTURES)
    other = Volume(volume.array * 300, GRID)
    setSegments(
        node, finished(oriented(other)), (300, 600), {300: Structure("other", (0.1, 0.2, 0.3))}
    )
    again = labelsFromNode(node, GRID)
    assert list(again.names.values()) == ["other", "label 600"]
    np.testing.assert_array_equal(again.volume.array, volume.array)


def test_138_structures_come_at_once_and_in_the_order_of_the_list(scene):
    """Added one by one to a node in the scene they took 2 s of the main thread, in Slicer 11."""
    shape = (160, 192, 224)
    blocks = [np.arange(n) // 32 for n in shape]
    array = blocks[0][:, None, None] * 42 + blocks[1][:, None] * 7 + blocks[2]
    image = finished(oriented(Volume((array % 138 + 1).astype(np.uint8), grid(shape))))
    structures = {value: Structure(f"s{value}", (0.5, 0.5, 0.1)) for value in range(138, 0, -1)}
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    woken = []
    node.AddObserver(node.GetSegmentation().SegmentAdded, lambda *_: woken.append(1))
    for _again in range(2):
        began = time.thread_time()
        setSegments(node, image, range(1, 139), structures)
        assert time.thread_time() - began < 0.2
    assert not woken
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 138
    assert segmentation.GetNumberOfLayers("Binary labelmap") == 1
    assert segmentation.GetNthSegment(0).GetName() == "s138"


def test_terminology_comes_along(scene):
    entry = "Segmentation category and type~SCT^123037004^Anatomical Structure~x~y~z~w"
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    volume = Volume(shape_at(GRID.points()), GRID)
    structures = {1: Structure("ball", (0.1, 0.2, 0.3), entry), 2: Structure("two", (1, 1, 1))}
    setSegments(node, finished(oriented(volume)), (1, 2), structures)
    again = labelsFromNode(node, GRID)
    assert again.structures[1].terminology == entry
    assert again.structures[2].terminology != entry


def test_a_colour_that_the_user_gave_a_structure_stays(scene):
    given = sources(scene)
    nodes = publish(scene, result(0), given, ALL)
    segment = nodes["warpedSegmentation"].GetSegmentation().GetNthSegment(1)
    segment.SetColor(0.0, 0.0, 1.0)
    publish(scene, result(1), given, ALL, {"transform": nodes["transform"]})
    again = nodes["warpedSegmentation"].GetSegmentation().GetNthSegment(1)
    assert again.GetColor() == (0.0, 0.0, 1.0)


def test_outputs_know_their_pair_and_selectors_can_tell_them(scene):
    given = sources(scene)
    nodes = publish(scene, result(), given, ALL)
    for node in nodes.values():
        assert isOutput(node)
        assert pairOf(node) == (given.fixed, given.moving)
    assert not isOutput(given.fixed)
    assert pairOf(given.moving) is None
    scene.RemoveNode(given.moving)
    assert pairOf(nodes["warpedVolume"]) == (given.fixed, None)


def test_the_inverse_is_exact_and_shares_the_transform_s_array(scene):
    given = sources(scene)
    nodes = publish(scene, result(), given, ALL)
    there = nodes["transform"].GetTransformFromParent()
    back = nodes["inverse"].GetTransformFromParent()
    points = GRID.points()[2:-2:3, 2:-2:3, 2:-2:3].reshape(-1, 3)
    assert np.abs(evaluate(back, evaluate(there, points)) - points).max() < 0.001
    ours = nodes["inverse"].GetTransformToParent().GetDisplacementGrid()
    assert ours is there.GetDisplacementGrid()


def test_a_volume_under_a_bending_transform_is_interpolated_once(scene):
    """A fine pattern outlives one interpolation and not two."""
    rng = np.random.default_rng(0)
    pattern = Volume(rng.normal(size=GRID.shape).astype(np.float32), GRID)
    fixed = addVolume(scene, pattern, "fixed")
    moving = addVolume(scene, pattern, "moving")
    labels = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "labels")
    shapes = Volume(shape_at(GRID.points()), GRID)
    setSegments(labels, finished(oriented(shapes)), (1, 2), STRUCTURES)
    bending = addTransform(scene, gridOf(smoothField(GRID, 6.0, 3)))
    for node in (moving, labels):
        node.SetAndObserveTransformNodeID(bending.GetID())
    given = Sources(
        fixed, moving, Labels(shapes, STRUCTURES), bend=bend(moving), movingSegmentation=labels
    )
    nodes = publish(scene, result(2), given, ("warpedVolume", "warpedSegmentation"))
    moving.SetAndObserveTransformNodeID(nodes["transform"].GetID())
    expected = sampled(ownVolume(moving), moving, GRID, 1, float(pattern.array.min()))
    found = slicer.util.arrayFromVolume(nodes["warpedVolume"])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    labels.SetAndObserveTransformNodeID(nodes["transform"].GetID())
    np.testing.assert_array_equal(
        labelsFromNode(nodes["warpedSegmentation"], GRID).volume.array,
        labelsFromNode(labels, GRID).volume.array,
    )


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


def test_the_jacobian_is_blue_where_squeezed_red_where_stretched_magenta_where_folded(scene):
    node = publish(scene, result(), sources(scene), ALL)["jacobian"]
    display = node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (2.0, 1.0)
    function = display.GetColorNode().GetColorTransferFunction()

    def colourAt(determinant):
        colour = [0.0, 0.0, 0.0]
        function.GetColor(determinant, colour)
        return colour

    assert colourAt(1.0) == [1.0, 1.0, 1.0]
    red, _green, blue = colourAt(0.5)
    assert blue > red
    red, _green, blue = colourAt(1.6)
    assert red > blue
    red, green, blue = colourAt(-0.5)
    assert red == blue > green


def test_the_displacement_volume_holds_lengths_in_mm(scene):
    done = resultOf()
    node = publish(scene, result(), sources(scene), ALL)["displacement"]
    expected = np.sqrt((done.field.vectors**2).sum(axis=-1))
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), expected, rtol=1e-5)


def test_the_table_reads_as_a_clinician_would_write_it(scene):
    node = publish(scene, result(), sources(scene), ALL)["metrics"]
    assert node.GetUseColumnTitleAsColumnHeader()
    table = node.GetTable()
    assert [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())] == [
        *("structure", "measure", "before", "linear part", "after", "change")
    ]
    assert rows(node) == [
        ["", "correlation of intensities", "0.100", "", "0.300", "better"],
        ["", "folded voxels (%)", "", "", "0", ""],
        ["all structures", "Dice overlap", "0.500", "0.600", "0.800", "better"],
        ["ball", "Dice overlap", "0.400", "0.500", "0.700", "better"],
        ["ellipsoid", "Dice overlap", "0.600", "", "0.900", "better"],
    ]


def test_a_table_of_labels_without_names_uses_their_numbers(scene):
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "t")
    setMetrics(
        node,
        {
            "before": {},
            "after": {
                "dice": {"7": 0.5},
                "dice_absent_zero": 0.4,
                "bending_energy": 1.0,
                "sdlogj": 0.1,
            },
        },
        {},
    )
    assert rows(node) == [["label 7", "Dice overlap", "", "0.500", ""]]


def test_the_chart_has_a_line_for_the_loss_and_one_for_dice(scene):
    nodes = publish(scene, result(), sources(scene), ALL)
    chart = nodes["chart"]
    assert linesOf(chart) == ["loss", "Dice"]
    assert chart.GetTitle() == "MR to CT"
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("step", "loss and Dice")
    assert rows(nodes["history"]) == [["0", "1", "0.5"], ["1", "0.5", "0.8"]]


def linesOf(chart):
    count = chart.GetNumberOfPlotSeriesNodes()
    return [chart.GetNthPlotSeriesNode(index).GetYColumnName() for index in range(count)]


def test_the_loss_of_each_level_is_a_line_of_its_own(scene):
    """It begins anew at each resolution; joined, the course looks like failure."""
    records = [
        {"step": step, "level": level, "total": total}
        for step, (level, total) in enumerate([(4.0, -0.2), (4.0, -0.6), (1.0, -0.1), (1.0, -0.3)])
    ]
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    setHistory(chart, table, records)
    assert linesOf(chart) == ["loss, 1/4 of the resolution", "loss, full resolution"]
    assert [row[1] for row in rows(table)] == ["-0.2", "-0.6", "nan", "nan"]
    assert [row[2] for row in rows(table)] == ["nan", "nan", "-0.1", "-0.3"]


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
