"""Jobs are checked when made and go to JSON and back; events are strict JSON."""

import json

import pytest

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job, Progress, finite


def test_a_job_survives_json():
    job = Job(preset="paper", settings={"steps": 3}, device="cuda:1", seed=5, inverse=True)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_unknown_fields_are_an_error():
    with pytest.raises(RegRefineError, match="unknown presett; known are"):
        Job.from_json({"presett": "paper"})


@pytest.mark.parametrize(
    "values",
    [
        {"affine": "afine"},
        {"intensity": "loud"},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"device": "cpu:1"},
        {"device": 3},
        {"working_spacing_mm": -1},
        {"working_spacing_mm": float("nan")},
        {"working_spacing_mm": "2"},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 1.5},
        {"settings": [1]},
        {"start_settings": None},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_named(values):
    with pytest.raises(RegRefineError, match=next(iter(values))):
        Job(**values)


def test_an_event_is_a_line_of_strict_ascii_json():
    line = Progress(
        "refine", 1, 5, {"total": float("nan")}, message="é\n", displacement=3
    ).to_line()
    assert line.isascii()
    assert "\n" not in line
    values = json.loads(line, parse_constant=pytest.fail)
    assert values["loss"] == {"total": None}
    assert "displacement" not in values
    assert values["event"] == "progress"
    assert json.loads(Progress("prepare", warning=True).to_line())["event"] == "warning"


def test_finite_goes_into_lists_and_dictionaries():
    assert finite({"a": [1.0, float("inf")], "b": "x"}) == {"a": [1.0, None], "b": "x"}
