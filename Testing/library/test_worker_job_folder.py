"""The job folder gives back what was put in, and says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from RegRefineLib.errors import RegRefineError
from RegRefineLib.field_padding import GridAndMatrix
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import Extras, Job, Result
from RegRefineLib.worker.job_folder import Handling, read_job, read_result, write_job, write_result
from RegRefineLib.worker.scene_result import prepared

AFFINE = np.array(
    [[0.0, 1.1, 0.1, -7.0], [2.0, 0.0, 0.0, 5.0], [0.0, 0.2, 3.0, 1 / 3], [0, 0, 0, 1]]
)
GEOMETRY = Geometry((3, 4, 5), AFFINE)


def volume(dtype, seed=0):
    array = np.random.default_rng(seed).integers(0, 100, GEOMETRY.shape)
    return Volume(array.astype(dtype), GEOMETRY)


def field():
    vectors = np.random.default_rng(1).normal(size=(*GEOMETRY.shape, 3)).astype(np.float32)
    return DisplacementField(vectors, GEOMETRY)


def result(**changes):
    values = {
        "field": field(),
        "affine": np.eye(4) + 0.1,
        "warped": volume(np.float32),
        "warped_labels": volume(np.int32),
        "inverse": None,
        "inverse_error_mm": None,
        "jacobian": volume(np.float32, 2),
        "before": {"dice": {"mean": 0.5, "3": None}},
        "affine_only": {},
        "after": {"dice": {"mean": np.float32(0.25)}},
        "history": [{"step": 0, "total": np.float64(1.5)}],
        "seconds": {"refine": 2.0},
        "peak_memory_mb": 12.5,
        "versions": {"torch": "2"},
        "device": "cpu",
        "job": Job(settings={"steps": 3}),
        "warnings": ["über"],
    }
    return Result(**{**values, **changes})


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_job_comes_back_bit_for_bit(tmp_path, dtype):
    fixed, moving, job = volume(dtype), volume(dtype, 1), Job(preset="paper", seed=4)
    write_job(tmp_path / "new" / "folder", fixed, moving, job)
    again, moving2, job2, extras, _ = read_job(tmp_path / "new" / "folder")
    assert again.array.dtype == dtype
    np.testing.assert_array_equal(again.array, fixed.array)
    np.testing.assert_array_equal(moving2.array, moving.array)
    np.testing.assert_array_equal(again.geometry.affine, AFFINE)
    assert job2 == job
    assert extras == Extras() or all(value is None for value in vars(extras).values())


def test_extras_come_back(tmp_path):
    points = np.arange(6.0).reshape(2, 3) / 7
    extras = Extras(volume(np.int32), volume(np.int32), volume(np.uint8), None, field(), points)
    write_job(tmp_path, volume(np.float32), volume(np.float32), Job(), extras)
    again = read_job(tmp_path)[3]
    np.testing.assert_array_equal(again.initial.vectors, extras.initial.vectors)
    np.testing.assert_array_equal(again.fixed_labels.array, extras.fixed_labels.array)
    np.testing.assert_array_equal(again.fixed_landmarks, points)
    assert again.moving_mask is None
    assert again.moving_landmarks is None


def test_a_matrix_comes_back_as_a_matrix(tmp_path):
    write_job(tmp_path, volume(np.float32), volume(np.float32), Job(), Extras(initial=AFFINE))
    np.testing.assert_array_equal(read_job(tmp_path)[3].initial, AFFINE)


def test_a_result_comes_back_whole(tmp_path):
    before = prepared(result(inverse=field()), lengths=True)
    write_result(tmp_path, before)
    after = read_result(tmp_path)
    for name in ("warped", "warped_labels", "jacobian", "displacement"):
        np.testing.assert_array_equal(getattr(after, name).array, getattr(before, name).array)
    for name in ("transform",):
        there, here = getattr(after, name), getattr(before, name)
        np.testing.assert_array_equal(there.grid.vectors, here.grid.vectors)
        np.testing.assert_array_equal(there.grid.geometry.affine, here.grid.geometry.affine)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.label_values == before.label_values
    assert after.record["after"] == {"dice": {"mean": 0.25}}
    assert after.record["history"] == [{"step": 0, "total": 1.5}]
    assert Job.from_json(after.record["job"]) == result().job
    assert after.record["warnings"] == ["über"]


def test_what_a_result_does_not_have_comes_back_as_nothing(tmp_path):
    write_result(tmp_path, prepared(result(warped_labels=None, jacobian=None)))
    after = read_result(tmp_path)
    assert (after.warped_labels, after.jacobian, after.displacement) == (None,) * 3
    assert after.label_values == ()


def test_a_mapping_with_a_matrix_comes_back_with_it(tmp_path):
    ready = prepared(result())
    ready = replace(ready, transform=GridAndMatrix(ready.transform.grid, AFFINE))
    write_result(tmp_path, ready)
    np.testing.assert_array_equal(read_result(tmp_path).transform.matrix, AFFINE)


def test_a_result_s_arrays_are_mapped_and_not_read(tmp_path):
    write_result(tmp_path, prepared(result()))
    vectors = read_result(tmp_path).transform.grid.vectors
    while isinstance(vectors, np.ndarray) and not isinstance(vectors, np.memmap):
        vectors = vectors.base
    assert isinstance(vectors, np.memmap)


def test_how_a_job_is_to_be_handled_comes_back(tmp_path):
    handling = Handling(AFFINE, lengths=True, fetch=("one", "two"))
    write_job(tmp_path, volume(np.uint8), volume(np.uint8), Job(), handling=handling)
    again = read_job(tmp_path).handling
    np.testing.assert_array_equal(again.moving_to_world, AFFINE)
    assert (again.lengths, again.fetch) == (True, ("one", "two"))
    write_job(tmp_path, volume(np.uint8), volume(np.uint8), Job())
    assert vars(read_job(tmp_path).handling) == vars(Handling())


def test_the_json_files_are_ascii(tmp_path):
    write_result(tmp_path, prepared(result()))
    assert (tmp_path / "result.json").read_bytes().isascii()


def test_writing_a_job_removes_what_an_earlier_run_left(tmp_path):
    write_result(tmp_path, prepared(result()))
    (tmp_path / "stop").touch()
    write_job(tmp_path, volume(np.float32), volume(np.float32), Job())
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "stop").exists()


@pytest.mark.parametrize("read", [read_job, read_result])
def test_an_empty_folder_is_an_error_in_words(tmp_path, read):
    with pytest.raises(RegRefineError, match="incomplete or damaged"):
        read(tmp_path)


def test_a_lost_array_is_an_error_in_words(tmp_path):
    write_job(tmp_path, volume(np.float32), volume(np.float32), Job())
    (tmp_path / "moving.npy").unlink()
    with pytest.raises(RegRefineError, match="incomplete or damaged"):
        read_job(tmp_path)


def test_another_protocol_is_refused(tmp_path):
    write_job(tmp_path, volume(np.float32), volume(np.float32), Job())
    record = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps({**record, "protocol": 99}))
    with pytest.raises(RegRefineError, match="protocol 99"):
        read_job(tmp_path)


def test_a_full_disk_is_named(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here, which is as full as a disk can be")
    (tmp_path / "moving.npy").symlink_to("/dev/full")
    with pytest.raises(RegRefineError, match="No space left on device"):
        write_job(tmp_path, volume(np.float32), volume(np.float32), Job())
    assert not (tmp_path / "job.json").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RegRefineError, match="cannot be written"):
        write_job(tmp_path / "file" / "job", volume(np.float32), volume(np.float32), Job())


@pytest.mark.parametrize("text", ["[]", "null", '{"protocol": 1}', '{"protocol": 1, "job": 7}'])
def test_a_record_that_is_none_is_one_sentence(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(RegRefineError, match="incomplete or damaged"):
        read_job(tmp_path)
