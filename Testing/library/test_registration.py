"""register() from end to end on small images whose deformation is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.analytic import ORIENTATIONS, rotation
from support.small import bend, body, grid, image_on, inverse_of, labels_on

from RegRefineLib.errors import Cancelled, RegRefineError, Stopped
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import Extras, Job, Progress
from RegRefineLib.registration import register

FIXED = grid((20, 18, 22), (2.0, 2.0, 2.0))
MOVING = grid(
    (17, 21, 19), (2.1, 2.3, 2.2), rotation(np.array([0.3, -0.2, 0.4])) @ ORIENTATIONS[17]
)
JOB = Job(preset="fixed", settings={"steps": 40, "smooth_weight": 0.1, "patience": 0}, device="cpu")
STILL = JOB.replaced(refinement="none", settings={})


def bent(points):
    return points + bend(points)


def affine() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.1, -0.15, 0.2])) * np.array([1.05, 0.95, 1.02])
    matrix[:3, 3] = 2, -3, 1.5
    return matrix


def test_a_known_deformation_between_unlike_grids_is_reduced():
    extras = Extras(fixed_labels=labels_on(FIXED, bent), moving_labels=labels_on(MOVING))
    result = register(image_on(FIXED, bent), image_on(MOVING), JOB, extras=extras)
    points = FIXED.points()
    inside = body(bent(points)) > 0.3
    left = np.linalg.norm(result.field.vectors - bend(points), axis=-1)[inside].mean()
    assert left < 0.65 * np.linalg.norm(bend(points), axis=-1)[inside].mean()
    assert result.after["ncc"] > result.before["ncc"]
    assert result.after["dice"]["mean"] > result.before["dice"]["mean"]
    assert result.after["folds_percent"] == 0
    assert result.warped.geometry.same_grid(FIXED)
    assert result.warped_labels.array.dtype.kind == "i"
    assert not result.warnings


@pytest.mark.parametrize("kind", ["field", "matrix"])
def test_a_given_transform_is_the_result_where_nothing_refines_it(kind):
    points = FIXED.points()
    if kind == "field":
        given, wanted = DisplacementField(bend(points), FIXED), bend(points)
    else:
        given, wanted = affine(), points @ affine()[:3, :3].T + affine()[:3, 3] - points
    result = register(image_on(FIXED), image_on(MOVING), STILL, extras=Extras(initial=given))
    np.testing.assert_allclose(result.field.vectors, wanted, atol=1e-3)


def test_a_given_field_may_lie_on_another_grid():
    other = grid((34, 30, 36), (1.5, 1.5, 1.5))
    extras = Extras(initial=DisplacementField(bend(other.points()), other))
    result = register(image_on(FIXED), image_on(MOVING), STILL, extras=extras)
    np.testing.assert_allclose(result.field.vectors, bend(FIXED.points()), atol=0.1)


def test_the_linear_part_and_the_displacement_are_composed_exactly(monkeypatch):
    from RegRefineLib.ops.warp import from_millimetres
    from RegRefineLib.pair import Refined

    points = FIXED.points()
    found = from_millimetres(DisplacementField(bend(points), FIXED))
    monkeypatch.setattr("RegRefineLib.refine.none.refine", lambda *_: Refined(found))
    # the field is no registration of these images, so that they are no judges of it
    monkeypatch.setattr("RegRefineLib.registration.better_of", lambda pair, start, refined: refined)
    result = register(image_on(FIXED), image_on(MOVING), STILL, extras=Extras(initial=affine()))
    wanted = bent(points) @ affine()[:3, :3].T + affine()[:3, 3] - points
    np.testing.assert_allclose(result.field.vectors, wanted, atol=1e-3)
    np.testing.assert_array_equal(result.affine, affine())


def test_the_inverse_on_the_moving_grid_undoes_the_map(monkeypatch):
    from RegRefineLib.ops.warp import from_millimetres
    from RegRefineLib.pair import Refined

    found = from_millimetres(DisplacementField(bend(FIXED.points()), FIXED))
    monkeypatch.setattr("RegRefineLib.refine.none.refine", lambda *_: Refined(found))
    # the field is no registration of these images, so that they are no judges of it
    monkeypatch.setattr("RegRefineLib.registration.better_of", lambda pair, start, refined: refined)
    job = STILL.replaced(inverse=True, jacobian=True)
    result = register(image_on(FIXED), image_on(MOVING), job, extras=Extras(initial=affine()))
    assert result.inverse.geometry.same_grid(MOVING)
    assert result.inverse_error_mm < 0.05

    def whole(points):
        return bent(points) @ affine()[:3, :3].T + affine()[:3, 3]

    points = MOVING.points()
    there = inverse_of(lambda x: whole(x), points)
    near = np.abs(there).max(axis=-1) < 14
    gap = np.linalg.norm(points + result.inverse.vectors - there, axis=-1)[near]
    assert gap.max() < 0.35  # linear interpolation between voxels of 2 mm
    middle = result.jacobian.array[8:12, 7:11, 9:13].mean()
    assert middle == pytest.approx(np.linalg.det(affine()[:3, :3]), abs=0.25)


def test_the_same_seed_gives_the_same_field():
    job = JOB.replaced(settings={"steps": 3})
    pair = image_on(FIXED, bent), image_on(MOVING)
    first, second = (register(*pair, job).field.vectors for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_coarser_working_grid_still_gives_the_fixed_grid():
    result = register(image_on(FIXED, bent), image_on(MOVING), JOB.replaced(working_spacing_mm=4.0))
    assert result.field.geometry.same_grid(FIXED)


def test_the_inputs_stay_as_they_are():
    fixed, moving = image_on(FIXED, bent), image_on(MOVING)
    before = fixed.array.copy(), moving.array.copy()
    register(fixed, moving, JOB.replaced(settings={"steps": 2}))
    np.testing.assert_array_equal(fixed.array, before[0])
    np.testing.assert_array_equal(moving.array, before[1])


@pytest.mark.parametrize("stage", ["affine", "prepare", "start", "refine"])
def test_a_stop_in_any_stage_keeps_what_there_is(stage):
    told = set()

    def stop(progress: Progress) -> None:  # once a stage, as the worker does
        if (progress.stage == stage or told) and progress.stage not in ("finish", *told):
            told.add(progress.stage)
            raise Stopped

    job = JOB.replaced(affine="rigid" if stage == "affine" else "none")
    result = register(image_on(FIXED, bent), image_on(MOVING), job, stop)
    assert np.isfinite(result.field.vectors).all()
    assert len(result.history) < 40
    assert "ncc" in result.after


def test_a_cancelled_run_gives_nothing():
    def cancel(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        register(image_on(FIXED), image_on(MOVING), JOB, cancel)


def singular() -> np.ndarray:
    return np.diag([1.0, 1, 0, 1])


FAULTS = {
    "singular": (Extras(initial=singular()), "singular"),
    "3x3": (Extras(initial=np.eye(3)), "4x4"),
    "nan": (Extras(initial=np.full((4, 4), np.nan)), "finite"),
    "empty mask": (
        Extras(fixed_mask=Volume(np.zeros(FIXED.shape, np.uint8), FIXED)),
        "fixed mask: the mask is empty",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_extras_are_told(fault):
    extras, said = FAULTS[fault]
    with pytest.raises(RegRefineError, match=said):
        register(image_on(FIXED), image_on(MOVING), JOB, extras=extras)


def test_a_displacement_that_ran_away_is_told(monkeypatch):
    from RegRefineLib.pair import Refined

    def astray(pair, start, *_):
        return Refined(start + torch.inf)

    monkeypatch.setattr("RegRefineLib.refine.none.refine", astray)
    with pytest.raises(RegRefineError, match="smaller learning_rate"):
        register(image_on(FIXED), image_on(MOVING), STILL)


def test_a_result_worse_than_its_start_is_warned_of(monkeypatch):
    from RegRefineLib.pair import Refined

    monkeypatch.setattr(
        "RegRefineLib.refine.none.refine", lambda pair, start, *_: Refined(start + 3)
    )
    result = register(image_on(FIXED), image_on(MOVING), STILL)
    assert any("ncc is worse after refinement" in warning for warning in result.warnings)


def test_segmentations_steer_where_they_are_told_to_and_the_result_says_so():
    extras = Extras(fixed_labels=labels_on(FIXED, bent), moving_labels=labels_on(MOVING))

    def run(strength: float):
        settings = {"levels": "2:15 1:10", "labels": strength}
        job = Job(affine="none", device="cpu", settings=settings)
        return register(image_on(FIXED, bent), image_on(MOVING), job, extras=extras)

    on, off = run(1.0), run(0.0)
    assert on.after["dice"]["mean"] > off.after["dice"]["mean"]
    assert on.after["folds_percent"] == 0
    assert any("segmentations guided" in sentence for sentence in on.to_json()["warnings"])
    assert not any("segmentations guided" in sentence for sentence in off.warnings)


def test_landmarks_pull_in_physical_space_where_they_are_told_to():
    grey = [Volume(np.full(g.shape, 0.5, np.float32) + 0.01 * (g.points()[..., 0] > 0), g)
            for g in (FIXED, MOVING)]  # fmt: skip
    marks = np.array([[3.0, -4.0, 2.0], [-6.0, 5.0, -3.0]])
    moved = marks + np.array([[0, 3.0, 1.0], [0, -2.0, 2.0]])
    extras = Extras(fixed_landmarks=marks, moving_landmarks=moved)

    def missed(strength: float) -> float:
        settings = {"levels": "2:30 1:30", "landmarks": strength}
        job = Job(affine="none", device="cpu", settings=settings)
        result = register(*grey, job, extras=extras)
        assert any("landmarks guided" in sentence for sentence in result.warnings) == (strength > 0)
        return result.after["tre_mm"]

    assert missed(1.0) < 1.0
    assert missed(0.0) > 2.5
