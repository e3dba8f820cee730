"""The JSON of cases: sets, pairs, paths, contrasts, what is wrong with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.bench_pairs import SHIFT_RAS, oblique_grid, write_set

from RegRefineLib.bench.cases import CONTRASTS, cases_file, contrasted, read_cases, read_groups
from RegRefineLib.bench.prealigned import aligned, file_name
from RegRefineLib.bench.tools import TOOLS, tool_named
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import read_volume, write_volume
from RegRefineLib.job import Job
from RegRefineLib.presets import resolve
from RegRefineLib.refine.pyramid.settings import Pyramid
from RegRefineLib.settings import read_settings


def test_a_pair_has_its_images_and_the_judged_labels(tmp_path):
    sets, variants = read_cases(write_set(tmp_path, labels=[7]), tmp_path)
    (case,) = sets["small"]
    fixed, moving = case.images()
    assert fixed.geometry.same_grid(oblique_grid())
    assert moving.array.max() > 0
    assert case.name == "small blobs"
    assert "short" in variants
    assert not any(volume.array.any() for volume in case.label_maps())


def test_an_array_of_an_archive_is_a_volume_without_a_header(tmp_path):
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", vol=array, seg=array.astype(np.int16))
    paths = {n: "a.npz:vol" for n in ("fixed", "moving")}
    labels = {n: "a.npz:seg" for n in ("fixed_labels", "moving_labels")}
    sets, _ = read_cases(
        write_set(tmp_path, **paths, **labels, labels=[3, 4], spacing=[1, 2, 5]), tmp_path
    )
    (case,) = sets["small"]
    assert case.images()[0].geometry.spacing.tolist() == [1, 2, 5]
    assert sorted(np.unique(case.label_maps()[0].array)) == [0, 3, 4]


def test_a_header_that_is_not_the_truth_is_replaced(tmp_path):
    sets, _ = read_cases(write_set(tmp_path, spacing=[1.25, 1.25, 10]), tmp_path)
    geometry = sets["small"][0].images()[0].geometry
    assert geometry.spacing.tolist() == [1.25, 1.25, 10]
    assert geometry.direction.tolist() == np.eye(3).tolist()


def test_what_has_no_header_is_placed_by_the_letters_of_its_axes(tmp_path):
    sets, _ = read_cases(write_set(tmp_path, spacing=[1, 2, 5], orientation="LIA"), tmp_path)
    geometry = sets["small"][0].images()[0].geometry
    assert geometry.direction.T.tolist() == [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]
    assert geometry.spacing.tolist() == [1, 2, 5]


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_contrast_keeps_the_background_and_the_range(name):
    array = np.linspace(0, 200, 4 * 5 * 6).reshape(4, 5, 6)
    grid = Geometry.from_parts(array.shape, (1, 1, 1), np.eye(3), (0, 0, 0))
    changed = contrasted(Volume(array, grid), name).array
    assert changed[array == 0].tolist() == [0.0]
    assert 0 <= changed.min() <= changed.max() <= 1
    assert np.corrcoef(changed[array > 100], array[array > 100])[0, 1] < 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"affine": "bent"}, "affine"),
        ({"intensity": "loud"}, "intensity"),
        ({"contrast": "none"}, "contrast"),
        ({"fixd": "a"}, "fixd"),
        ({"orientation": "LAI2"}, "three letters"),
        ({"orientation": "LRS"}, "three letters"),
        ({"name": "{3}"}, "not a JSON of cases"),
    ],
)
def test_what_is_wrong_with_a_set_is_said(change, named, tmp_path):
    with pytest.raises(RegRefineError, match=named):
        read_cases(write_set(tmp_path, **change), tmp_path)


def test_a_missing_file_of_cases_is_said(tmp_path):
    with pytest.raises(RegRefineError, match="cannot be read"):
        read_cases(tmp_path / "none.json", tmp_path)


def test_the_tools_get_the_moving_image_on_the_fixed_grid(tmp_path):
    sets, _ = read_cases(write_set(tmp_path, affine="centre"), tmp_path)
    (case,) = sets["small"]
    pair = aligned(case, tmp_path / "pairs")
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    assert moving.geometry.same_grid(fixed.geometry)
    np.testing.assert_allclose(pair.matrix[:3, 3] + pair.matrix[:3, :3] @ fixed.geometry.centre
                               - fixed.geometry.centre, SHIFT_RAS, atol=0.5)  # fmt: skip
    assert np.corrcoef(fixed.array.ravel(), moving.array.ravel())[0, 1] > 0.98
    again = aligned(case, tmp_path / "pairs")
    assert again.seconds == pair.seconds > 0
    without = aligned(case, tmp_path / "pairs", with_affine=False)
    assert np.array_equal(without.matrix, np.eye(4))
    assert without.moving != pair.moving


def test_a_mask_says_where_the_moving_image_lies(tmp_path):
    """Half of the moving image is cut away; the mask is found for pairs kept without it as well."""
    cases = write_set(tmp_path)
    (case,) = read_cases(cases, tmp_path)[0]["small"]
    assert aligned(case, tmp_path / "pairs").mask is None
    moving = read_volume(tmp_path / "moving.nii")
    grid = Geometry((18, *moving.array.shape[1:]), moving.geometry.affine)
    write_volume(Volume(moving.array[:18], grid), tmp_path / "moving.nii")
    half = aligned(case, tmp_path / "half")
    there = read_volume(half.mask)
    assert there.geometry.same_grid(read_volume(half.moving).geometry)
    assert there.array[:18].all()
    assert not there.array[18:].any()
    assert aligned(case, tmp_path / "half").mask == half.mask
    notes = half.mask.with_name("affine.json")
    kept = json.loads(notes.read_text())
    assert kept.pop("masked")
    notes.write_text(json.dumps(kept))
    half.mask.unlink()
    assert aligned(case, tmp_path / "half").mask == half.mask
    assert half.mask.exists()


def test_a_variant_can_do_without_the_affine_part_and_the_mask():
    rows = {"bare": {"tool": "greedy", "align": False, "mask": False}, "same": {"tool": "greedy"}}
    assert (tool_named("bare", rows).align, tool_named("bare", rows).mask) == (False, False)
    assert tool_named("same", rows) == TOOLS["greedy"]
    assert tool_named("same", rows).align


def test_names_of_pairs_are_names_of_files():
    assert file_name("oasis 1000<-1001") == "oasis-1000-1001"


def test_the_projects_own_cases_can_be_read_and_run(tmp_path):
    sets, variants = read_cases(cases_file(None), tmp_path)
    assert all(sets.values())
    names = [case.name for cases in sets.values() for case in cases]
    assert len(set(names)) == len(names)
    ablation, curves = read_groups(cases_file(None))
    assert ablation
    assert all(curves.values())
    for name in [*TOOLS, *variants]:
        tool = tool_named(name, variants)
        assert tool.script.is_file()
        json.dumps(dict(tool.settings))
        if not tool.is_peer:
            job = resolve(Job(preset=tool.settings["preset"], **tool.settings.get("job", {})))
            if job.refinement == "pyramid":
                read_settings(Pyramid, job.settings)


@pytest.mark.parametrize("text", ["[]", "{", '{"sets": {}, "curves": 3}', '{"ablation": 1}'])
def test_groups_that_are_no_groups_are_said(text, tmp_path):
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(RegRefineError, match="not a JSON of cases"):
        read_groups(tmp_path / "cases.json")


def test_an_unknown_tool_is_said_with_its_neighbours():
    with pytest.raises(RegRefineError, match="greedy"):
        tool_named("gredy", {})
