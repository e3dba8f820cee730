"""The job folder gives back what was put in, and says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import Extras, Job, RegRefineError, Result
from RegRefineLib.worker.exchange import read_job, read_result, write_job, write_result

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
        "inverse_residual_mm": None,
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
    again, moving2, job2, extras = read_job(tmp_path / "new" / "folder")
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
    before = result()
    write_result(tmp_path, before)
    after = read_result(tmp_path)
    for name in ("warped", "warped_labels", "jacobian"):
        np.testing.assert_array_equal(getattr(after, name).array, getattr(before, name).array)
    np.testing.assert_array_equal(after.field.vectors, before.field.vectors)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.inverse is None
    assert after.after == {"dice": {"mean": 0.25}}
    assert after.history == [{"step": 0, "total": 1.5}]
    assert after.job == before.job
    assert after.warnings == ["über"]


def test_the_json_files_are_ascii(tmp_path):
    write_result(tmp_path, result())
    assert (tmp_path / "result.json").read_bytes().isascii()


def test_writing_a_job_removes_what_an_earlier_run_left(tmp_path):
    write_result(tmp_path, result())
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
