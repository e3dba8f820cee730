from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.analytic import centred, rotation

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.geometry import Volume
from RegRefineLib.io.volumes import LabelMap, read_label_layers, read_labels, write_labels

GRID = centred((6, 7, 8), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))


def two_organs():
    array = np.zeros((6, 7, 8), int)
    array[1:3, 2:5, 3:7] = 7
    array[4, 0, 0] = 300
    return array


def layered(path, layers, description):
    """A file as Slicer writes it: one component per layer, keys per segment."""
    image = sitk.GetImageFromArray(np.stack(layers, -1).astype(np.uint8), isVector=True)
    if len(layers) == 1:
        image = sitk.GetImageFromArray(layers[0].astype(np.uint8))
    for number, keys in enumerate(description):
        image.SetMetaData(f"Segment{number}_ID", f"S{number}")
        for key, value in keys.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    sitk.WriteImage(image, str(path), True)


def block(start, stop):
    array = np.zeros((5, 6, 7), int)
    array[start:stop] = 1
    return array


def test_names_and_colours_come_back(tmp_path):
    names = {7: "kidney: left", 300: "a=b c", 9: "nowhere"}
    labels = LabelMap(Volume(two_organs(), GRID), names, {7: (1.0, 0.0, 0.5)})
    write_labels(labels, tmp_path / "l.seg.nrrd")
    got = read_labels(tmp_path / "l.seg.nrrd")
    assert np.array_equal(got.volume.array, two_organs())
    assert got.names == names
    assert got.colours[7] == (1.0, 0.0, 0.5)
    assert set(got.colours) == {7, 9, 300}
    assert all(0 <= c <= 1 for colour in got.colours.values() for c in colour)


def test_labels_without_names_get_some(tmp_path):
    write_labels(Volume(two_organs(), GRID), tmp_path / "l.seg.nrrd")
    assert read_labels(tmp_path / "l.seg.nrrd").names == {7: "Segment_7", 300: "Segment_300"}


def test_an_empty_segmentation_can_be_written_and_read(tmp_path):
    write_labels(Volume(np.zeros((6, 7, 8), int), GRID), tmp_path / "l.seg.nrrd")
    got = read_labels(tmp_path / "l.seg.nrrd")
    assert not got.volume.array.any()
    assert got.names == {}


def test_layers_are_flattened_and_keep_labels_that_differ(tmp_path):
    layers = [block(0, 2), 5 * block(3, 4)]
    keys = [
        {"Name": "a", "LabelValue": "1", "Layer": "0", "Color": "1 0 0"},
        {"Name": "b", "LabelValue": "5", "Layer": "1"},
    ]
    layered(tmp_path / "l.seg.nrrd", layers, keys)
    got = read_labels(tmp_path / "l.seg.nrrd")
    assert np.array_equal(got.volume.array, layers[0] + layers[1])
    assert got.names == {1: "a", 5: "b"}
    assert got.colours == {1: (1.0, 0.0, 0.0)}


def test_segments_that_share_a_label_are_numbered(tmp_path):
    keys = [{"Name": n, "LabelValue": "1", "Layer": str(k)} for k, n in enumerate("abc")]
    layered(tmp_path / "l.seg.nrrd", [block(0, 1), block(2, 3), block(4, 5)], keys)
    got = read_labels(tmp_path / "l.seg.nrrd")
    assert np.array_equal(got.volume.array, block(0, 1) + 2 * block(2, 3) + 3 * block(4, 5))
    assert got.names == {1: "a", 2: "b", 3: "c"}


def test_files_before_labels_and_layers_were_described_are_read(tmp_path):
    layered(tmp_path / "l.seg.nrrd", [block(0, 1), block(2, 3)], [{"Name": "a"}, {"Name": "b"}])
    got = read_labels(tmp_path / "l.seg.nrrd")
    assert np.array_equal(got.volume.array, block(0, 1) + 2 * block(2, 3))


def test_overlapping_segments_keep_their_layers_and_the_smaller_one_when_flat(tmp_path):
    keys = [{"Name": n, "LabelValue": "1", "Layer": str(k)} for k, n in enumerate("abc")]
    path = tmp_path / "l.seg.nrrd"
    layered(path, [block(0, 1), block(1, 3), block(2, 5)], keys)
    layers = read_label_layers(path)
    assert [layer.names for layer in layers] == [{1: "a"}, {2: "b"}, {3: "c"}]
    assert np.array_equal(layers[2].volume.array, 3 * block(2, 5))
    with pytest.warns(RegRefineWarning, match="segments overlap in 42 voxels; the smaller"):
        flat = read_labels(path)
    assert np.array_equal(flat.volume.array, block(0, 1) + 2 * block(1, 3) + 3 * block(3, 5))
    write_labels(layers, tmp_path / "again.seg.nrrd")
    again = read_label_layers(tmp_path / "again.seg.nrrd")
    for one, other in zip(layers, again, strict=True):
        assert np.array_equal(one.volume.array, other.volume.array)
        assert one.names == other.names


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("LabelValue", "one", "segment 0 is described badly"),
        ("LabelValue", "0", "names layer 0 and label 0"),
        ("Layer", "3", "names layer 3"),
        ("Color", "red", "segment 0 is described badly"),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(key, value, words, tmp_path):
    layered(tmp_path / "l.seg.nrrd", [block(0, 1)], [{key: value}])
    with pytest.raises(RegRefineError, match=words):
        read_labels(tmp_path / "l.seg.nrrd")


def test_slicer_reads_our_segmentations(tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    labels = LabelMap(Volume(two_organs(), GRID), {7: "kidney"}, {7: (1.0, 0.0, 0.5)})
    write_labels(labels, tmp_path / "l.seg.nrrd")
    scene = slicer.vtkMRMLScene()
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "l.seg.nrrd"))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    segments = [node.GetSegmentation().GetNthSegment(n) for n in range(2)]
    assert [s.GetName() for s in segments] == ["kidney", "Segment_300"]
    assert [s.GetLabelValue() for s in segments] == [7, 300]
    assert segments[0].GetColor() == (1.0, 0.0, 0.5)
    storage.SetFileName(str(tmp_path / "slicers.seg.nrrd"))
    assert storage.WriteData(node)
    again = read_labels(tmp_path / "slicers.seg.nrrd")
    assert again.names == {7: "kidney", 300: "Segment_300"}
    place = again.volume.geometry.to_index(GRID.to_ras([0, 0, 4])).round().astype(int)
    assert again.volume.array[tuple(place[::-1])] == 300
    assert (again.volume.array == 7).sum() == (two_organs() == 7).sum()
