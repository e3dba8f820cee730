from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RegRefineLib.errors import RegRefineError
from RegRefineLib.io.landmarks import read_landmarks, write_landmarks

quick = settings(max_examples=60, deadline=None, derandomize=True)
names = st.text("aZ9 ,;\"'#=:|\\äß漢", max_size=12)
point = st.tuples(*[st.floats(-1e4, 1e4)] * 3)


@quick
@given(
    landmarks=st.lists(st.tuples(names, point), min_size=1, max_size=6),
    ending=st.sampled_from(["mrk.json", "json", "fcsv", "csv"]),
)
def test_names_and_points_come_back_exactly(landmarks, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("landmarks") / f"points.{ending}"
    labels = [name for name, _ in landmarks]
    points = np.array([p for _, p in landmarks])
    write_landmarks(labels, points, path)
    got_names, got_points = read_landmarks(path)
    assert got_names == labels
    assert np.array_equal(got_points, points)


HEADER = "# Markups fiducial file version = 4.11\n"
COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
ROW = 'vtkMRMLMarkupsFiducialNode_0,-1,-2,3,0,0,0,1,1,1,0,"F, 1",,\n'


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("# CoordinateSystem = LPS\n", [1, 2, 3]),
        ("# CoordinateSystem = 1\n", [1, 2, 3]),
        ("# CoordinateSystem = RAS\n", [-1, -2, 3]),
        ("# CoordinateSystem = 0\n", [-1, -2, 3]),
        ("", [-1, -2, 3]),
    ],
)
def test_fcsv_files_of_every_age_give_ras(frame, expected, tmp_path):
    (tmp_path / "f.fcsv").write_text(HEADER + frame + COLUMNS + ROW)
    labels, points = read_landmarks(tmp_path / "f.fcsv")
    assert labels == ["F, 1"]
    assert np.array_equal(points, [expected])


def test_fcsv_files_with_other_columns_or_windows_lines_are_read(tmp_path):
    text = "# Fiducial List file\r\n# columns = label,x,y,z,sel,vis\r\nnose,1,2,3,1,1\r\n"
    (tmp_path / "f.fcsv").write_bytes(text.encode())
    assert read_landmarks(tmp_path / "f.fcsv")[0] == ["nose"]
    (tmp_path / "f.fcsv").write_text("# columns = a,b\n1,2\n")
    refused(tmp_path / "f.fcsv", "no columns label, x, y, z")


def markups(**changes):
    point = {"label": "F-1", "position": [-1.0, -2.0, 3.0], "positionStatus": "defined"}
    values = {"coordinateSystem": "LPS", "controlPoints": [point], **changes}
    return json.dumps({"markups": [{"type": "Fiducial", **values}]})


@pytest.mark.parametrize(("frame", "expected"), [("LPS", [1, 2, 3]), ("RAS", [-1, -2, 3])])
def test_json_markups_of_both_frames_give_ras(frame, expected, tmp_path):
    (tmp_path / "f.mrk.json").write_text(markups(coordinateSystem=frame))
    assert np.array_equal(read_landmarks(tmp_path / "f.mrk.json")[1], [expected])


def test_a_point_that_only_follows_the_mouse_is_left_out(tmp_path):
    points = [{"label": "a", "position": [0, 0, 0]}, {"label": "b", "positionStatus": "preview"}]
    (tmp_path / "f.json").write_text(markups(controlPoints=points))
    assert read_landmarks(tmp_path / "f.json")[0] == ["a"]


@pytest.mark.parametrize("header", ["", "name,x,y,z\n", "Name, X, Y, Z\n", "\ufeffname,x,y,z\n"])
def test_csv_is_ras_with_or_without_a_header(header, tmp_path):
    (tmp_path / "f.csv").write_text(header + "nose,1,2.5,-3e1\n\n", encoding="utf-8")
    labels, points = read_landmarks(tmp_path / "f.csv")
    assert labels == ["nose"]
    assert np.array_equal(points, [[1, 2.5, -30]])


def refused(path, words):
    with pytest.raises(RegRefineError, match=words) as caught:
        read_landmarks(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("f.csv", "nose,1,2\n", "'nose,1,2' is not name,x,y,z"),
        ("f.csv", "nose,1,2,x\n", r"landmark 1 \(nose\) is not three finite numbers"),
        ("f.csv", "a,1,2,3\nb,1,2,nan\n", r"landmark 2 \(b\) is not three finite numbers"),
        ("f.csv", "name,x,y,z\n", "no landmarks"),
        ("f.fcsv", HEADER + COLUMNS, "no landmarks"),
        ("f.fcsv", HEADER + COLUMNS + "1,2\n", "landmark 1 .* is not three finite numbers"),
        ("f.fcsv", "# CoordinateSystem = IJK\n" + COLUMNS + ROW, "coordinate system IJK"),
        ("f.json", "{", "not a Slicer markups file"),
        ("f.json", "[]", "not a Slicer markups file"),
        ("f.json", '{"markups": [5]}', "not a Slicer markups file"),
        ("f.json", '{"markups": []}', "0 lists of markups"),
        ("f.json", markups(controlPoints=[]), "no landmarks"),
        ("f.json", markups(coordinateSystem="IJK"), "coordinate system IJK"),
        ("f.json", markups(coordinateUnits="um"), "coordinates in um"),
        ("f.json", markups(controlPoints=[{"label": "a"}]), "not a Slicer markups file"),
        ("f.json", markups(controlPoints=[{"position": [1, 2]}]), "not three finite numbers"),
        ("f.json", markups(controlPoints=[{"position": None}]), "not three finite numbers"),
        (
            "f.json",
            markups(controlPoints=[{"label": "a", "positionStatus": "undefined"}]),
            r"landmark 1 \(a\) is not three finite numbers: position undefined",
        ),
        ("f.txt", "x", "unknown file type; a landmark file is one of .mrk.json"),
        ("f.csv", "", "the file is empty"),
    ],
)
def test_bad_files_are_refused_in_one_line(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, words)


def test_missing_and_binary_files_are_refused(tmp_path):
    refused(tmp_path / "none.fcsv", "there is no such file")
    (tmp_path / "f.csv").write_bytes(b"\xff\xfe\x00\x80")
    refused(tmp_path / "f.csv", "not a text file")


def test_each_point_needs_a_name(tmp_path):
    with pytest.raises(ValueError, match="names: one for each of 2 points, got 1"):
        write_landmarks(["a"], np.zeros((2, 3)), tmp_path / "f.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ending", "storage"),
    [
        ("mrk.json", "vtkMRMLMarkupsJsonStorageNode"),
        ("fcsv", "vtkMRMLMarkupsFiducialStorageNode"),
    ],
)
def test_slicer_and_we_exchange_landmarks(ending, storage, tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    points = np.array([[1.5, -2.25, 3], [40, 50, -60]])
    write_landmarks(["nose", "left, ear"], points, tmp_path / f"ours.{ending}")
    scene = slicer.vtkMRMLScene()
    for kind in (storage, "vtkMRMLMarkupsFiducialNode"):
        scene.RegisterNodeClass(getattr(slicer, kind)())
    disk = scene.AddNewNodeByClass(storage)
    disk.SetFileName(str(tmp_path / f"ours.{ending}"))
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert disk.ReadData(node)
    assert [node.GetNthControlPointLabel(n) for n in range(2)] == ["nose", "left, ear"]
    assert np.allclose([node.GetNthControlPointPosition(n) for n in range(2)], points)
    disk.SetFileName(str(tmp_path / f"slicers.{ending}"))
    assert disk.WriteData(node)
    labels, again = read_landmarks(tmp_path / f"slicers.{ending}")
    assert labels == ["nose", "left, ear"]
    assert np.allclose(again, points)
