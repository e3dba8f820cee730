"""A result's files: all of them or none, and nothing of before is lost."""

import json

import numpy as np
import pytest
from support.small import grid, image_on, labels_on

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField
from RegRefineLib.io import result_folder as outputs
from RegRefineLib.io import transforms
from RegRefineLib.io import volumes as files
from RegRefineLib.job import Job, Result

GRID = grid((6, 7, 8))


def result(**changes) -> Result:
    field = DisplacementField(np.full((*GRID.shape, 3), 1.5, np.float32), GRID)
    values = {
        "field": field,
        "affine": np.eye(4),
        "warped": image_on(GRID),
        "warped_labels": labels_on(GRID),
        "inverse": None,
        "inverse_error_mm": None,
        "jacobian": None,
        "before": {},
        "affine_only": {},
        "after": {"ncc": float("nan")},
        "history": [{"total": float("inf")}],
        "seconds": {},
        "peak_memory_mb": 1.0,
        "versions": {},
        "device": "cpu",
        "job": Job(),
        "warnings": [],
    }
    return Result(**{**values, **changes})


def test_what_was_written_is_read_again(tmp_path):
    named = files.LabelMap(labels_on(GRID), {1: "left", 2: "right", 3: "ball"})
    paths = outputs.write_result(result(), tmp_path / "new", named)
    assert set(paths) == {
        "transform",
        "affine",
        "warped",
        "warped_labels",
        "warped_segmentation",
        "result",
    }
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(
        p.name for p in paths.values()
    )
    assert (transforms.read_transform(paths["transform"]).vectors == 1.5).all()
    assert files.read_labels(paths["warped_segmentation"]).names[3] == "ball"


def test_numbers_that_are_none_become_null(tmp_path):
    paths = outputs.write_result(result(), tmp_path)
    values = json.loads(paths["result"].read_text(), parse_constant=pytest.fail)
    assert values["after"] == {"ncc": None}
    assert values["history"] == [{"total": None}]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "transform.nrrd").write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "write_volume", fail)
    with pytest.raises(RegRefineError, match="disk is full"):
        outputs.write_result(result(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["transform.nrrd"]
    assert (tmp_path / "transform.nrrd").read_text() == "old"


def test_a_folder_in_the_way_of_a_file_is_found_before_any_is_replaced(tmp_path):
    (tmp_path / "warped.nii.gz").mkdir()
    with pytest.raises(RegRefineError, match="is a folder"):
        outputs.write_result(result(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["warped.nii.gz"]


def test_a_file_above_is_told_and_nothing_is_made(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(RegRefineError, match="is a file, not a folder"):
            outputs.check_folder(folder)
    outputs.check_folder(tmp_path / "x" / "y")
    assert not (tmp_path / "x").exists()
