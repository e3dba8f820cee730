"""Templates: the mean shape is found and taken out, exactly; a build resumes where it was."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm
from support.cohort_files import GRID, QUICK, QUICK_WORDS, write_scans
from support.command_line import run as command
from support.small import bend

from RegRefineLib.cohort import averages
from RegRefineLib.cohort.compact import sampled
from RegRefineLib.cohort.engine import Where, opened
from RegRefineLib.cohort.execute import execute
from RegRefineLib.cohort.linear_mean import mean_affine, without_rigid
from RegRefineLib.cohort.shape_update import Mapping, MeanResidual, Update
from RegRefineLib.cohort.template import Plan, build
from RegRefineLib.cohort.template_run import prepare_template
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.io.transforms import read_transform
from RegRefineLib.io.volumes import read_volume
from RegRefineLib.resample import resample


def silent(_: str) -> None:
    """Say nothing."""


def turned(angle: float) -> np.ndarray:
    generator = np.zeros((4, 4))
    generator[0, 1], generator[1, 0] = -angle, angle
    return expm(generator)


def test_the_mean_of_turns_is_a_turn_and_of_scales_the_geometric_mean():
    found = mean_affine([turned(0.8), turned(-0.2)], [1, 1])
    np.testing.assert_allclose(found, turned(0.3), atol=1e-9)
    found = mean_affine([np.diag([4.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])], [1, 1])
    np.testing.assert_allclose(found, np.diag([2.0, 1, 1, 1]), atol=1e-9)
    found = mean_affine([np.diag([8.0, 1, 1, 1]), np.eye(4)], [1, 2])
    assert found[0, 0] == pytest.approx(2.0)
    with pytest.raises(RegRefineError, match="180 degrees"):
        mean_affine([np.diag([-1.0, 1, 1, 1]), np.eye(4)], [1, 1])


def test_turn_and_shift_are_no_shape_and_the_stretch_keeps_the_middle():
    stretch = np.diag([1.2, 0.9, 1.0, 1.0])
    matrix = turned(0.4) @ stretch
    matrix[:3, 3] = 5, -3, 2
    centre = np.array([10.0, 4, -6])
    kept = without_rigid(matrix, centre)
    np.testing.assert_allclose(kept[:3, :3], stretch[:3, :3], atol=1e-12)
    np.testing.assert_allclose(kept[:3, :3] @ centre + kept[:3, 3], centre, atol=1e-12)


def maps() -> list[Mapping]:
    """Four maps whose mean is far from the identity."""
    points = GRID.points()
    found = []
    for size, scale, angle in ((4, 1.1, 0.1), (3, 1.05, -0.05), (2, 1.2, 0.0), (5, 1.15, 0.2)):
        affine = turned(angle) @ np.diag([scale, 1, 1 / scale, 1])
        affine[:3, 3] = size, 1, -2
        residual = DisplacementField(bend(points, size).astype(np.float32), GRID)
        found.append(Mapping(affine, residual))
    return found


def mean_of(found: list[Mapping]) -> tuple[float, float]:
    """How far the mean of maps is from the identity: mm, and the mean stretch from 1."""
    mean = MeanResidual(GRID)
    for each in found:
        mean.add(each.residual, 1.0)
    inner = mean.field().vectors[3:-3, 3:-3, 3:-3]
    middle = without_rigid(mean_affine([m.affine for m in found], [1.0] * 4), GRID.centre)
    return float(np.linalg.norm(inner, axis=-1).mean()), float(np.abs(middle - np.eye(4)).max())


def test_after_the_update_the_mean_of_the_maps_is_the_identity():
    before = maps()
    mean = MeanResidual(GRID)
    for each in before:
        mean.add(each.residual, 1.0)
    stretch = without_rigid(mean_affine([m.affine for m in before], [1.0] * 4), GRID.centre)
    update = Update.of(mean.field(), stretch)
    after = [update.applied(each) for each in before]
    assert mean_of(before)[0] > 0.5
    assert mean_of(after)[0] < 0.1 * mean_of(before)[0]
    assert mean_of(after)[1] < 0.1 * mean_of(before)[1]


def test_an_updated_map_takes_a_point_where_the_old_one_took_its_place_before():
    update = Update.of(maps()[0].residual, np.diag([1.1, 1, 0.95, 1.0]))
    mapping, points = maps()[1], GRID.points()[4:-4, 4:-4, 4:-4].reshape(-1, 3)
    old = points + update.places.at(points)
    wanted = old + mapping.whole().at(old)
    found = points + update.applied(mapping).whole().at(points)
    assert np.linalg.norm(found - wanted, axis=1).max() < 0.15


def test_a_map_and_its_inverse_lead_back_and_a_whole_field_is_taken_apart():
    mapping = maps()[0]
    again = Mapping.from_field(mapping.whole(), mapping.affine, GRID)
    np.testing.assert_allclose(again.residual.vectors, mapping.residual.vectors, atol=1e-4)
    back, error = mapping.inverse(GRID)
    points = GRID.points()[5:-5, 5:-5, 5:-5].reshape(-1, 3)
    there = points + mapping.whole().at(points)
    assert np.linalg.norm(there + back.at(there) - points, axis=1).max() < 0.5
    assert error < 0.2


def test_averages_are_those_of_numpy_by_slabs_and_an_outlier_does_not_move_the_median(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(averages, "_SLAB_BYTES", 1)
    arrays = np.random.default_rng(0).random((10, *GRID.shape)).astype(np.float32)
    arrays[3] += 100
    weights = np.arange(1.0, 11.0)
    wanted = {
        "mean": np.average(arrays, axis=0, weights=weights),
        "median": np.median(arrays, axis=0),
        "trimmed": np.sort(arrays, axis=0)[1:-1].mean(axis=0),
    }
    for statistic, expected in wanted.items():
        stack = averages.Stack(GRID, tmp_path / statistic)
        for array, weight in zip(arrays, weights, strict=True):
            stack.add(array, weight)
        found = stack.average(statistic)
        np.testing.assert_allclose(found.array, expected, rtol=1e-5)
        assert not (tmp_path / statistic).exists()
    image = Volume(arrays[0], GRID)
    assert averages.gradient_energy(averages.sharpened(image, 0.5)) > averages.gradient_energy(
        image
    )
    assert averages.normalised(image).array.mean() == pytest.approx(1.0, abs=1e-5)
    below = Volume(arrays[0] - 1, GRID)
    assert np.array_equal(averages.normalised(below).array, below.array)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"), 3, labels=False)


PLAN = Plan(linear=1, deformable=2, spacing_mm=2.5)


def ready(scans: Path, folder: Path, plan: Plan = PLAN):
    return prepare_template(scans, folder, QUICK, plan, 1, silent)[0]


def counted(ran: list[str], fail: tuple[str, ...] = ()):
    """Do runs one by one, noting them; those named raise in the middle of the build."""

    def perform(runs, folder, done):
        for run in runs:
            if run.moving.id in fail and folder.name == "iteration-02":
                raise KeyboardInterrupt
            ran.append(f"{folder.name}/{run.moving.id}")
            done(execute(run, folder))

    return perform


def test_a_template_is_between_its_scans_and_its_maps_lead_there_and_back(scans, tmp_path):
    ran: list[str] = []
    built = build(ready(scans, tmp_path), counted(ran), silent)
    assert len(ran) == 9
    with (tmp_path / "convergence.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["kind"] for row in rows] == ["linear", "deformable", "deformable"]
    assert all(abs(float(row["stretch_determinant"]) - 1) < 0.05 for row in rows)
    grid = built.template.geometry
    for name in ("s0", "s1", "s2"):
        there = read_transform(tmp_path / f"maps/from-{name}_to-template.nrrd")
        back = read_transform(tmp_path / f"maps/from-template_to-{name}.nrrd")
        points = grid.points()[5:-5, 5:-5, 5:-5].reshape(-1, 3)
        landed = points + there.at(points)
        assert np.linalg.norm(landed + back.at(landed) - points, axis=1).mean() < 0.3
        scan = averages.normalised(read_volume(scans.parent / f"{name}.nii.gz"))
        field = sampled(there, grid)
        warped = resample(scan, grid, field)
        assert averages.correlation(warped, built.template) > 0.95


def test_a_build_that_was_stopped_goes_on_at_its_iteration_and_row_and_ends_the_same(
    scans, tmp_path
):
    whole = build(ready(scans, tmp_path / "a"), counted([]), silent)
    first: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        build(ready(scans, tmp_path / "b"), counted(first, fail=("s1",)), silent)
    assert first[-1] == "iteration-02/s0"
    second: list[str] = []
    again = build(ready(scans, tmp_path / "b"), counted(second), silent)
    assert second[0] == "iteration-02/s1"
    assert len(first) + len(second) == 9
    np.testing.assert_array_equal(again.template.array, whole.template.array)
    third: list[str] = []
    build(ready(scans, tmp_path / "b"), counted(third), silent)
    assert third == []


def test_an_average_is_never_made_with_a_hole_unless_that_is_said(scans, tmp_path):
    def breaks(runs, folder, done):
        for run in runs:
            record = execute(run, folder) if run.moving.id != "s1" else None
            done(record or {"run": run.name, "status": "failed", "reason": "no luck"})

    plan = Plan(linear=0, deformable=1, spacing_mm=2.5)
    with pytest.raises(RegRefineError, match=r"1 of 3 runs failed.*no luck"):
        build(ready(scans, tmp_path, plan), breaks, silent)
    said: list[str] = []
    allowed = Plan(linear=0, deformable=1, spacing_mm=2.5, holes=True)
    built = build(ready(scans, tmp_path, allowed), breaks, said.append)
    assert built.scans == ("s0", "s2")
    assert any("2 of 3 scans" in sentence for sentence in said)
    assert json.loads((tmp_path / "iteration-01/iteration.json").read_text())["row"]["used"] == 2


def test_the_command_makes_a_template(scans, tmp_path, capsys):
    words = ("cohort", scans, "-o", tmp_path / "o", "--template", *QUICK_WORDS, "--workers", 1)
    status, out, _ = command(capsys, *words, "--iterations", 0, 1, "--grid", 3, "--maps", 4)
    assert status == 0, out
    with (tmp_path / "o/volume_maps/maps.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 6
    assert rows[0]["group"] == "a"
    map_volume = read_volume(tmp_path / "o/volume_maps" / rows[1]["effects_map_path"])
    assert np.abs(map_volume.array).max() < 1.5
    assert "iteration 1 (deformable, 3 scans)" in out
    assert read_volume(tmp_path / "o/template.nii.gz").geometry.spacing[0] == pytest.approx(3)
    assert command(capsys, *words, "--to", "s0")[0] == 2
    assert command(capsys, *words, "--iterations", 0, 0)[0] == 2
    assert command(capsys, *words, "--target", "none.nii.gz")[0] == 2
    with opened(Where(), silent) as perform:
        assert isinstance(perform, partial)
