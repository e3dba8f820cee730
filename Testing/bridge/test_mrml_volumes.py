"""What the bridge reads from the real MRML scene: volumes, labels and landmarks, in the world."""

from __future__ import annotations

import numpy as np
import pytest
from RegRefineBridge.mrml import volumes as nodes
from RegRefineBridge.mrml.segmentations import labelsFromNode, maskFromNode
from RegRefineBridge.mrml.structures import Labels, Structure, matched, unmatched
from RegRefineBridge.mrml.volumes import landmarksFromNode, sampled, volumeFromNode
from RegRefineBridge.mrml.vtk_arrays import oriented
from RegRefineBridge.workflow.chunked import finished
from scipy import ndimage
from support.mrml import (
    DIRECTIONS,
    addLinear,
    addTransform,
    addVolume,
    bspline,
    evaluate,
    grid,
    gridOf,
    newScene,
    rigid,
    shape_at,
    slicer,
    smoothField,
    thinPlate,
    vtk,
)

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume


@pytest.fixture
def scene():
    return newScene()


def noise(geometry, dtype=np.float32):
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=geometry.shape), 2)
    return Volume((smooth * 500 + 100).astype(dtype), geometry)


def segment(name, volume, value=1, colour=(1.0, 0.0, 0.0)):
    made = slicer.vtkSegment()
    made.SetName(name)
    made.SetColor(*colour)
    made.SetLabelValue(value)
    made.AddRepresentation("Binary labelmap", finished(oriented(volume)))
    return made


def addSegmentation(scene, *segments):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    for made in segments:
        node.GetSegmentation().AddSegment(made)
    return node


def box(geometry, low, high):
    array = np.zeros(geometry.shape, np.uint8)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return Volume(array, geometry)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_volume_is_read_exactly_in_any_orientation(scene, direction, dtype):
    volume = noise(grid(direction=direction), dtype)
    read = volumeFromNode(addVolume(scene, volume))
    assert read.array.dtype == dtype
    np.testing.assert_array_equal(read.array, volume.array)
    np.testing.assert_allclose(read.geometry.affine, volume.geometry.affine, atol=1e-12)


def test_the_array_read_is_a_copy(scene):
    node = addVolume(scene, noise(grid()))
    read = volumeFromNode(node)
    slicer.util.arrayFromVolume(node)[:] = 0
    assert read.array.any()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_linear_parents_are_folded_into_the_grid(scene, direction):
    node = addVolume(scene, noise(grid(direction=direction)))
    inner, outer = addLinear(scene, rigid()), addLinear(scene, np.diag([1.1, 0.9, 1.0, 1.0]))
    node.SetAndObserveTransformNodeID(inner.GetID())
    inner.SetAndObserveTransformNodeID(outer.GetID())
    read = volumeFromNode(node)
    index = (7, 5, 3)
    ras = np.zeros(3)
    node.TransformPointToWorld(grid(direction=direction).to_ras(index), ras)
    np.testing.assert_allclose(read.geometry.to_ras(index), ras, atol=1e-9)
    np.testing.assert_array_equal(read.array, slicer.util.arrayFromVolume(node))


@pytest.mark.parametrize("kind", ["thin plate", "B-spline", "grid", "chain"])
def test_a_volume_under_a_bending_parent_is_sampled_as_slicer_would_show_it(scene, kind):
    geometry = grid()
    node = addVolume(scene, noise(geometry))
    bending = {
        "thin plate": thinPlate,
        "B-spline": bspline,
        "grid": lambda: gridOf(smoothField(geometry)),
        "chain": thinPlate,
    }[kind]()
    parent = addTransform(scene, bending)
    node.SetAndObserveTransformNodeID(parent.GetID())
    if kind == "chain":
        parent.SetAndObserveTransformNodeID(addLinear(scene, rigid()).GetID())
    before = slicer.util.arrayFromVolume(node).copy()
    read = volumeFromNode(node)
    np.testing.assert_allclose(read.geometry.spacing, geometry.spacing)
    chosen = np.random.default_rng(1).integers(0, read.geometry.shape, (200, 3))
    down = slicer.vtkMRMLTransformNode
    general = vtk.vtkGeneralTransform()
    down.GetTransformBetweenNodes(None, parent, general)
    index = geometry.to_index(evaluate(general, read.geometry.to_ras(chosen[:, ::-1])))
    expected = ndimage.map_coordinates(
        before, index[:, ::-1].T, order=1, mode="grid-constant", cval=before.min()
    )
    np.testing.assert_allclose(read.array[tuple(chosen.T)], expected, atol=2e-2)
    assert node.GetParentTransformNode() is parent
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), before)


def test_the_grid_under_a_bending_parent_holds_all_of_the_volume(scene):
    geometry = grid()
    array = np.full(geometry.shape, 7.0, np.float32)
    array[0, 0, 0] = 0.0
    node = addVolume(scene, Volume(array, geometry))
    shift = np.eye(4)
    shift[:3, 3] = (9.0, -14.0, 21.0)
    parent = addTransform(scene, bspline())
    parent.SetAndObserveTransformNodeID(addLinear(scene, shift).GetID())
    node.SetAndObserveTransformNodeID(parent.GetID())
    read = volumeFromNode(node)
    assert abs((read.array > 3.5).sum() / geometry.voxel_count - 1) < 0.05


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda scene: None, "nothing is chosen"),
        (lambda scene: scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new"), "has no voxels"),
        (lambda scene: removed(scene), "was removed from the scene"),
        (lambda scene: vector(scene), "has 3 values a voxel"),
    ],
)
def test_what_is_no_volume_is_refused_in_words(scene, spoil, words):
    with pytest.raises(RegRefineError, match=f"fixed volume: .*{words}"):
        volumeFromNode(spoil(scene), "fixed volume")


def removed(scene):
    node = addVolume(scene, noise(grid()))
    scene.RemoveNode(node)
    return node


def vector(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4, 3), np.uint8))
    return node


def test_values_that_are_no_numbers_become_zero(scene):
    volume = noise(grid())
    node = addVolume(scene, volume)
    slicer.util.arrayFromVolume(node)[0, 0, :2] = [np.nan, np.inf]
    assert np.isfinite(volumeFromNode(node).array).all()


def test_segments_keep_names_and_colours_and_count_in_the_lists_order(scene):
    geometry = grid()
    first, second = box(geometry, (2, 2, 2), (9, 9, 9)), box(geometry, (12, 12, 12), (20, 20, 20))
    node = addSegmentation(
        scene, segment("liver", first, 1, (0.5, 0.25, 0.0)), segment("spleen", second, 1)
    )
    labels = labelsFromNode(node, geometry)
    assert labels.names == {1: "liver", 2: "spleen"}
    assert labels.colours[1] == (0.5, 0.25, 0.0)
    np.testing.assert_array_equal(labels.volume.array, first.array + 2 * second.array.astype(int))


def test_where_segments_overlap_the_one_further_down_is_on_top(scene):
    geometry = grid()
    liver, tumour = box(geometry, (2, 2, 2), (15, 15, 15)), box(geometry, (5, 5, 5), (9, 9, 9))
    top = labelsFromNode(
        addSegmentation(scene, segment("liver", liver), segment("tumour", tumour)), geometry
    )
    assert (top.volume.array[tumour.array == 1] == 2).all()
    under = labelsFromNode(
        addSegmentation(scene, segment("tumour", tumour), segment("liver", liver)), geometry
    )
    assert set(np.unique(under.volume.array)) == {0, 2}


def test_segments_that_share_a_layer_are_told_apart(scene):
    geometry = grid()
    both = (
        box(geometry, (2, 2, 2), (9, 9, 9)).array
        + 2 * box(geometry, (12, 12, 12), (20, 20, 20)).array
    )
    image = finished(oriented(Volume(both, geometry)))
    parts = []
    for value, name in ((1, "a"), (2, "b")):
        made = slicer.vtkSegment()
        made.SetName(name)
        made.SetLabelValue(value)
        made.AddRepresentation("Binary labelmap", image)
        parts.append(made)
    node = addSegmentation(scene, *parts)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    np.testing.assert_array_equal(labelsFromNode(node, geometry).volume.array, both)


@pytest.mark.parametrize("bending", [False, True])
def test_segments_on_another_grid_under_parents_land_where_slicer_shows_them(scene, bending):
    fine = grid((40, 44, 48), (1.5, 1.5, 1.5), "sagittal")
    target = grid(direction="oblique")
    ball = (shape_at(fine.points()) == 1).astype(np.uint8)
    node = addSegmentation(scene, segment("ball", Volume(ball, fine)))
    parent = addLinear(scene, rigid())
    if bending:
        parent = addTransform(scene, gridOf(smoothField(grid())))
    node.SetAndObserveTransformNodeID(parent.GetID())
    general = vtk.vtkGeneralTransform()
    parent.GetTransformFromWorld(general)
    index = np.round(fine.to_index(evaluate(general, target.points())))[..., ::-1].astype(int)
    inside = (index >= 0).all(axis=-1) & (index < fine.shape).all(axis=-1)
    expected = np.zeros(target.shape, int)
    expected[inside] = ball[tuple(index[inside].T)]
    assert expected.sum() > 300
    np.testing.assert_array_equal(labelsFromNode(node, target).volume.array, expected)


def test_equal_names_get_equal_values_whatever_the_nodes_hold(scene):
    geometry = grid()
    a, b = box(geometry, (2, 2, 2), (9, 9, 9)), box(geometry, (12, 12, 12), (20, 20, 20))
    fixed = labelsFromNode(addSegmentation(scene, segment("x", a), segment("y", b)), geometry)
    moving = labelsFromNode(
        addSegmentation(scene, segment("new", a), segment("y", b)), geometry, like=fixed
    )
    assert moving.names == {3: "new", 2: "y"}
    assert list(moving.names) == [3, 2]  # in the order of its own list
    assert (moving.volume.array[b.array == 1] == 2).all()


def test_names_belong_together_whatever_their_case_and_blanks(scene):
    geometry = grid()
    a, b = box(geometry, (2, 2, 2), (9, 9, 9)), box(geometry, (12, 12, 12), (20, 20, 20))
    fixed = labelsFromNode(
        addSegmentation(scene, segment("Left Kidney", a), segment("liver ", b)), geometry
    )
    moving = labelsFromNode(
        addSegmentation(scene, segment("LIVER", b), segment("left_kidney", a)), geometry, like=fixed
    )
    assert moving.names == {2: "LIVER", 1: "left_kidney"}
    np.testing.assert_array_equal(moving.volume.array, fixed.volume.array)
    assert unmatched(fixed, moving) == ""


def test_each_structure_has_one_namesake_and_equal_names_come_first():
    def named(*names):
        return {value: Structure(name, (0, 0, 0)) for value, name in enumerate(names, start=1)}

    assert matched(named("a", "A"), named("A", "b")) == {1: 3, 2: 1}
    assert matched(named("x"), named("y")) == {1: 1}  # one each: taken for the same
    assert matched(named("x", "z"), named("y", "w")) == {1: 3, 2: 4}
    assert matched(named("a", "a "), named("a")) == {1: 1, 2: 2}


def test_what_only_one_segmentation_has_is_said():
    volume = Volume(np.zeros((1, 1, 1), np.uint8), grid((1, 1, 1)))

    def labels(**names):
        values = {int(key[1:]): Structure(name, (0, 0, 0)) for key, name in names.items()}
        return Labels(volume, values)

    words = unmatched(labels(v1="a", v2="b"), labels(v1="a", v3="c"))
    assert "only in the fixed: b" in words
    assert "only in the moving: c" in words
    assert "taken as one" in unmatched(labels(v1="a"), labels(v1="tumour"))
    assert unmatched(labels(v1="a"), None) == ""


def test_slicers_own_colour_table_names_no_structure(scene):
    """Its name for the label 1 is "jake"."""
    geometry = grid()
    volume = Volume(shape_at(geometry.points()), geometry)
    node = addVolume(scene, volume, kind="vtkMRMLLabelMapVolumeNode")
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "Labels")
    table.SetType(table.Labels)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(table.GetID())
    labels = labelsFromNode(node, geometry)
    assert labels.names == {1: "label 1", 2: "label 2"}
    colour = [0.0] * 4
    table.GetColor(1, colour)
    assert labels.colours[1] == pytest.approx(colour[:3])


def test_a_label_volume_keeps_its_values_and_its_tables_names(scene):
    geometry = grid()
    volume = Volume(shape_at(geometry.points()) * 5, geometry)
    node = addVolume(scene, volume, kind="vtkMRMLLabelMapVolumeNode")
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "table")
    table.SetTypeToUser()
    table.SetNumberOfColors(11)
    table.SetColor(5, "liver", 0.1, 0.2, 0.3, 1.0)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(table.GetID())
    labels = labelsFromNode(node, geometry)
    np.testing.assert_array_equal(labels.volume.array, volume.array)
    assert labels.names[5] == "liver"
    assert labels.colours[5] == pytest.approx((0.1, 0.2, 0.3), abs=1e-2)
    assert set(labels.names) == {5, 10}


def test_an_image_is_no_label_map(scene):
    with pytest.raises(RegRefineError, match="no label map"):
        labelsFromNode(addVolume(scene, noise(grid())), grid())


def test_an_empty_segmentation_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(RegRefineError, match="has no segments"):
        labelsFromNode(node, grid())


@pytest.fixture
def surfaces(scene):
    """A segmentation that is kept as a surface: a ball of 10 mm about the grid's middle."""
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    sphere.SetCenter(*grid().centre)
    sphere.Update()
    made = slicer.vtkSegment()
    made.SetName("ball")
    made.AddRepresentation("Closed surface", sphere.GetOutput())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().AddSegment(made)
    yield node
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_surfaces_that_cannot_be_converted_are_refused_with_the_way_out(surfaces):
    with pytest.raises(RegRefineError, match="create its binary labelmap representation"):
        labelsFromNode(surfaces, grid())  # slicer-core registers no conversion rules


def test_surfaces_are_converted_in_a_copy_where_slicer_can(surfaces):
    rule = slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule()
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    factory.RegisterConverterRule(rule)
    try:
        labels = labelsFromNode(surfaces, grid())
    finally:
        factory.UnregisterConverterRule(rule)
    volume_mm3 = (labels.volume.array == 1).sum() * 2.0 * 2.0 * 2.5
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.1)


def test_a_mask_is_everything_that_any_segment_covers(scene):
    geometry = grid()
    a, b = box(geometry, (2, 2, 2), (9, 9, 9)), box(geometry, (12, 12, 12), (20, 20, 20))
    mask = maskFromNode(addSegmentation(scene, segment("a", a), segment("b", b)), geometry)
    np.testing.assert_array_equal(mask.array, a.array + b.array)
    far = grid(centre=(500.0, 0.0, 0.0))
    with pytest.raises(RegRefineError, match="nothing inside the volume"):
        maskFromNode(addSegmentation(scene, segment("a", a)), far)


@pytest.mark.parametrize("bending", [False, True])
def test_landmarks_are_read_in_the_world(scene, bending):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint(1.0, 2.0, 3.0, "tip")
    node.AddControlPoint(4.0, 5.0, 6.0, "unplaced")
    node.UnsetNthControlPointPosition(1)
    node.AddControlPoint(-7.0, 8.0, 9.0, "base")
    parent = addTransform(scene, thinPlate()) if bending else addLinear(scene, rigid())
    node.SetAndObserveTransformNodeID(parent.GetID())
    general = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(general)
    landmarks = landmarksFromNode(node)
    assert landmarks.names == ["tip", "base"]
    expected = evaluate(general, [(1.0, 2.0, 3.0), (-7.0, 8.0, 9.0)])
    np.testing.assert_allclose(landmarks.points, expected, atol=1e-6)


def test_a_list_without_points_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    with pytest.raises(RegRefineError, match="no placed points"):
        landmarksFromNode(node)


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (0.5, 2.0, -1.0), (1.5, 0.7, 1.0)])
@pytest.mark.parametrize(
    "shift", [(0.0, 0.0, 0.0), (3.0, -2.0, 5.0), (0.3, 99.0, -0.7), (-4.4, 2.2, 1.1)]
)
def test_nearest_voxels_on_parallel_axes_are_those_of_the_general_way(
    scene, monkeypatch, scale, shift
):
    rng = np.random.default_rng(0)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    source = Volume(rng.integers(0, 9, (7, 8, 9)).astype(np.int16), grid((7, 8, 9)))
    place = np.diag([*scale, 1.0])
    place[:3, 3] = shift
    target = Geometry((6, 11, 10), source.geometry.affine @ place)
    quick = sampled(source, node, target, outside=7)
    monkeypatch.setattr(nodes, "_isSeparable", lambda *_: False)
    slow = sampled(source, node, target, outside=7)
    index = source.geometry.to_index(target.points())
    # halves may fall either way
    ties = (np.abs(index - np.floor(index) - 0.5) < 1e-6).any(axis=-1)
    np.testing.assert_array_equal(quick[~ties], slow[~ties])
    assert quick.dtype == slow.dtype
