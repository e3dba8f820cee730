"""The Python API: what is public, every way in and out, what a script and a notebook get."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from support.small import bend, grid, image_on, labels_on

import RegRefineLib as rr
from RegRefineLib.api.convert import image_of
from RegRefineLib.io.volumes import write_volume

# a change of this list is a change of what RegRefine promises
PUBLIC = {
    *("register", "Registration", "Transform", "Image", "read", "read_transform", "apply"),
    *("evaluate", "doctor", "presets", "settings", "Job", "Progress", "Volume", "Geometry"),
    *("DisplacementField", "RegRefineError", "Stopped", "Cancelled", "__version__"),
}
GRID = grid((20, 18, 22), (2.0, 2.2, 1.8), np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]))
QUICK: dict[str, Any] = {
    "affine": "none",
    "settings": {"levels": "2:6 1:3", "small_steps": 0},
    "device": "cpu",
}


def bent(points: np.ndarray) -> np.ndarray:
    return points + bend(points)


FIXED, MOVING = image_on(GRID, bent), image_on(GRID)
LABELS = {"fixed_labels": labels_on(GRID, bent), "moving_labels": labels_on(GRID)}


@pytest.fixture(scope="module")
def result() -> rr.Registration:
    return rr.register(FIXED, MOVING, **QUICK, **LABELS)


def test_the_public_names_are_these_and_all_have_docstrings() -> None:
    assert set(rr.__all__) == PUBLIC
    assert set(dir(rr)) >= PUBLIC
    for name in PUBLIC - {"__version__"}:
        assert getattr(rr, name).__doc__, name
    with pytest.raises(AttributeError):
        _ = rr.nothing
    assert (Path(rr.__file__).parent / "py.typed").is_file()


def test_the_import_is_quick_and_loads_nothing_heavy() -> None:
    code = """
import sys, time
began = time.process_time()
import RegRefineLib as rr
spent = time.process_time() - began
assert not {"torch", "numpy", "SimpleITK"} & set(sys.modules)
rr.Job(preset="ct"); rr.presets(); rr.settings("pyramid")
assert not {"torch", "SimpleITK"} & set(sys.modules)
print(spent)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.05


def as_nibabel(volume: rr.Volume) -> Any:
    return nibabel.Nifti1Image(volume.array.transpose(2, 1, 0), volume.geometry.affine)


def as_ants(volume: rr.Volume) -> Any:
    ants = pytest.importorskip("ants")
    image = sitk_of(volume)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    array = volume.array.transpose(2, 1, 0)
    return ants.from_numpy(array, image.GetOrigin(), image.GetSpacing(), direction)


def as_itk(volume: rr.Volume) -> Any:
    itk = pytest.importorskip("itk")
    image = itk.image_from_array(volume.array)
    placed = sitk_of(volume)
    image.SetOrigin(placed.GetOrigin())
    image.SetSpacing(placed.GetSpacing())
    image.SetDirection(np.array(placed.GetDirection()).reshape(3, 3))
    return image


def sitk_of(volume: rr.Volume) -> sitk.Image:
    return rr.Image(volume.array, volume.geometry).to_sitk()


WAYS = {
    "sitk": sitk_of,
    "array": lambda v: (v.array, v.geometry.affine),
    "nibabel": as_nibabel,
    "ants": as_ants,
    "itk": as_itk,
}


@pytest.mark.parametrize("way", WAYS)
def test_an_image_is_the_same_whichever_way_it_comes_in(way: str) -> None:
    found = image_of(WAYS[way](FIXED))
    np.testing.assert_array_equal(found.array, FIXED.array)
    np.testing.assert_allclose(found.geometry.affine, GRID.affine, atol=1e-5)


def test_results_are_equal_to_the_bit_whichever_way_images_come_in(
    result: rr.Registration, tmp_path: Path
) -> None:
    write_volume(FIXED, tmp_path / "fixed image.nrrd")
    other = rr.register(str(tmp_path / "fixed image.nrrd"), sitk_of(MOVING), **QUICK, **LABELS)
    again = rr.register(sitk_of(FIXED), (MOVING.array, GRID.affine), **QUICK, **LABELS)
    for each in (other, again):
        np.testing.assert_array_equal(each.warped.array, result.warped.array)
        np.testing.assert_array_equal(each.raw.field.vectors, result.raw.field.vectors)


def test_images_go_out_and_come_back_unchanged(result: rr.Registration, tmp_path: Path) -> None:
    warped = result.warped
    for way in (warped.to_sitk(), warped.to_nibabel(), warped.save(tmp_path / "w.nrrd")):
        found = image_of(way)
        np.testing.assert_array_equal(found.array, warped.array)
        np.testing.assert_allclose(found.geometry.affine, GRID.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(warped), warped.array)


def test_simpleitk_resamples_to_the_same_image_bit_for_bit(result: rr.Registration) -> None:
    fixed, moving = sitk_of(FIXED), sitk_of(MOVING)
    lowest = float(MOVING.array.min())
    found = sitk.Resample(moving, fixed, result.transform.to_sitk(), sitk.sitkLinear, lowest)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), result.warped.array)
    labels = sitk_of(LABELS["moving_labels"])
    nearest = sitk.Resample(labels, fixed, result.transform.to_sitk(), sitk.sitkNearestNeighbor, 0)
    assert result.warped_labels is not None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nearest), result.warped_labels.array)


def test_apply_gives_what_the_run_gave(result: rr.Registration, tmp_path: Path) -> None:
    transform = result.transform
    np.testing.assert_array_equal(transform.apply(MOVING).array, result.warped.array)
    labels = transform.apply(LABELS["moving_labels"], like=FIXED, interpolation="label")
    assert result.warped_labels is not None
    np.testing.assert_array_equal(labels.array, result.warped_labels.array)
    path = transform.save(tmp_path / "field.nrrd")
    for way in (path, transform, result, transform.to_sitk(), transform.field):
        moved = rr.apply(way, MOVING, like=FIXED)
        np.testing.assert_allclose(moved.array, result.warped.array, atol=1e-5)


def test_points_go_there_and_back_in_both_frames(result: rr.Registration) -> None:
    points = np.array([[1.0, 2.0, -3.0], [-6.0, 4.0, 5.0]])
    moved = result.transform.points(points)
    assert np.linalg.norm(moved - points, axis=1).max() > 0.3
    flip = np.array([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(result.transform.points(points * flip, lps=True), moved * flip)
    by_itk = [result.transform.to_sitk().TransformPoint(p) for p in (points * flip).tolist()]
    np.testing.assert_allclose(by_itk, moved * flip, atol=1e-4)
    np.testing.assert_allclose(result.transform.inverse.points(moved), points, atol=0.15)


def test_the_inverse_is_the_one_that_the_job_makes() -> None:
    made = rr.register(FIXED, MOVING, **QUICK, inverse=True)
    found = rr.register(FIXED, MOVING, **QUICK).transform.inverse
    np.testing.assert_allclose(found.field.vectors, made.transform.inverse.field.vectors, atol=1e-3)


def test_a_linear_transform_needs_no_grid() -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = 2, -1, 3
    transform = rr.read_transform(matrix)
    np.testing.assert_allclose(transform.points([[0, 0, 0]]), [[2, -1, 3]])
    np.testing.assert_allclose(transform.inverse.points([[2, -1, 3]]), [[0, 0, 0]])
    itk = transform.to_sitk()
    np.testing.assert_allclose(itk.TransformPoint((0.0, 0.0, 0.0)), (-2, 1, 3))
    np.testing.assert_allclose(rr.read_transform(itk).linear, matrix)
    with pytest.raises(rr.RegRefineError, match="like: a linear transform"):
        transform.apply(MOVING)


def test_a_result_can_be_the_start_of_the_next(result: rr.Registration) -> None:
    again = rr.register(FIXED, MOVING, **QUICK, **LABELS, initial=result)
    initial, after = again.raw.initial, again.raw.after
    assert initial is not None
    assert initial["dice"]["mean"] == pytest.approx(result.raw.after["dice"]["mean"], abs=0.02)
    assert after["ncc"] > initial["ncc"] - 1e-3
    assert list(again.metrics) == ["before", "initial", "after"]


def test_a_start_is_kept_where_the_refinement_makes_it_worse(
    result: rr.Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    from RegRefineLib.pair import Refined

    def astray(pair: Any, start: Any, *_: Any) -> Refined:
        return Refined(start + 2)

    monkeypatch.setattr("RegRefineLib.refine.none.refine", astray)
    kept = rr.register(FIXED, MOVING, "default", refinement="none", initial=result, device="cpu")
    np.testing.assert_allclose(kept.raw.field.vectors, result.raw.field.vectors, atol=1e-3)
    assert any("so that was kept" in sentence for sentence in kept.warnings)


def test_it_saves_what_the_command_line_writes(result: rr.Registration, tmp_path: Path) -> None:
    files = result.save(tmp_path / "out")
    assert {"transform", "affine", "warped", "warped_labels", "result"} <= set(files)
    found = rr.read_transform(files["transform"])
    np.testing.assert_allclose(found.field.vectors, result.raw.field.vectors, atol=1e-4)
    assert rr.read(files["warped"]).geometry.same_grid(GRID)


def test_it_is_three_lines_in_a_terminal_and_a_picture_in_a_notebook(
    result: rr.Registration,
) -> None:
    lines = repr(result).splitlines()
    assert len(lines) == 3
    assert "Dice" in lines[1]
    html = result._repr_html_()
    assert "data:image/png;base64," in html
    assert "<th>affine</th>" in html


def test_metrics_after_the_fact_are_those_of_the_run(result: rr.Registration) -> None:
    found = rr.evaluate(FIXED, MOVING, result, **LABELS)
    assert found["dice"]["mean"] == pytest.approx(result.raw.after["dice"]["mean"])
    assert found["ncc"] == pytest.approx(result.raw.after["ncc"], abs=1e-6)
    marks = np.array([[1.0, 2, 3], [4, -5, 6]])
    moved = result.transform.points(marks)
    assert rr.evaluate(transform=result, fixed_landmarks=marks, moving_landmarks=moved)[
        "tre_mm"
    ] == pytest.approx(0, abs=1e-6)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a number": ({"moving": 3}, "moving: a path, a Volume, a SimpleITK"),
    "None": ({"moving": None}, "got NoneType"),
    "2-D": ({"moving": sitk.Image(4, 4, sitk.sitkFloat32)}, "three-dimensional scalar"),
    "vectors": ({"moving": sitk.Image([4, 4, 4], sitk.sitkVectorFloat32)}, "components"),
    "4-D array": ({"moving": (np.zeros((2, 3, 4, 5)), np.eye(4))}, "three-dimensional array"),
    "3x3 affine": ({"moving": (np.zeros((3, 4, 5)), np.eye(3))}, "4x4 affine"),
    "text array": ({"moving": (np.full((3, 4, 5), "x"), np.eye(4))}, "real numbers"),
    "no file": ({"moving": "nowhere.nii.gz"}, "nowhere.nii.gz"),
    "preset": ({"preset": "defalt"}, "did you mean default"),
    "option": ({"levles": "1:2"}, "did you mean levels"),
    "job field": ({"affin": "none"}, "did you mean affine"),
    "half of labels": ({"fixed_labels": labels_on(GRID)}, "give both fixed_labels and"),
    "labels of parts": ({"fixed_labels": FIXED, "moving_labels": FIXED}, "whole numbers"),
    "landmarks": ({"fixed_landmarks": [[1, 2]], "moving_landmarks": [[1, 2]]}, r"\(n, 3\)"),
    "initial": ({"initial": "nothing.h5"}, "nothing.h5"),
    "initial kind": ({"initial": np.eye(3)}, "a 4x4"),
    "threads": ({"threads": 0}, "threads: 1 or more"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_a_sentence(fault: str) -> None:
    changes, words = WRONG[fault]
    with pytest.raises(rr.RegRefineError, match=words):
        rr.register(**{"fixed": FIXED, "moving": MOVING, **QUICK, **changes})


def test_settings_may_be_given_by_their_own_names(result: rr.Registration) -> None:
    others = {k: v for k, v in QUICK.items() if k != "settings"}
    found = rr.register(FIXED, MOVING, levels="2:6 1:3", small_steps=0, **others, **LABELS)
    np.testing.assert_array_equal(found.raw.field.vectors, result.raw.field.vectors)


def test_several_threads_may_register_at_once(result: rr.Registration) -> None:
    found: list[Any] = [None] * 3

    def work(n: int) -> None:
        found[n] = rr.register(FIXED, MOVING, **QUICK, **LABELS)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for each in found:
        np.testing.assert_array_equal(each.raw.field.vectors, result.raw.field.vectors)


@pytest.fixture
def interrupt_handler() -> Iterator[Any]:
    """Set what SIGINT does, for the test alone."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_control_c_keeps_the_best_and_a_second_one_drops(interrupt_handler: Any) -> None:
    def interrupt(at: set[int]) -> Any:
        def report(progress: rr.Progress) -> None:
            if progress.stage == "refine" and progress.steps and progress.step in at:
                signal.raise_signal(signal.SIGINT)

        return report

    # programs that a shell starts in the background ignore it
    interrupt_handler(signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    long = {**QUICK, "settings": {"levels": "1:40", "patience_steps": 0, "small_steps": 0}}
    stopped = rr.register(FIXED, MOVING, progress=interrupt({2}), **long)
    assert len(stopped.raw.history) == 3
    assert signal.getsignal(signal.SIGINT) is before

    def twice(progress: rr.Progress) -> None:
        if progress.stage == "refine" and progress.steps:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        rr.register(FIXED, MOVING, progress=twice, **long)
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_are_those_of_before_afterwards() -> None:
    import torch

    before = torch.get_num_threads()
    inside = []
    rr.register(
        FIXED, MOVING, threads=2, progress=lambda _: inside.append(torch.get_num_threads()), **QUICK
    )
    assert set(inside) == {2}
    assert torch.get_num_threads() == before


def test_the_lists_are_those_of_the_command_line() -> None:
    assert "ct" in rr.presets()
    names = [each.name for each in rr.settings("pyramid")]
    assert names[0] == "levels"
    assert set(rr.settings()) > {"pyramid", "convexadam", "syn", "none"}
    with pytest.raises(rr.RegRefineError, match="did you mean pyramid"):
        rr.settings("pyramd")
    found = rr.doctor()
    assert found["packages"]["torch"] != "not installed"
    assert not any(state.startswith("ALTERED") for state in found["weights"].values())
