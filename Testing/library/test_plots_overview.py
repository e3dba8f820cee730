"""Pictures come out whole, of the right size, from awkward inputs, and touch no global state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.plots import charts, panels
from RegRefineLib.plots import overview as metrics
from RegRefineLib.plots.overview import Comparison
from RegRefineLib.plots.slices import planes

GRID = Geometry.from_parts((10, 24, 20), (1.0, 1.5, 5.0), np.diag([-1, -1, 1]), (3, 4, 5))


def ball(radius: float, shift: float = 0.0) -> np.ndarray:
    points = GRID.points() - GRID.centre
    points[..., 0] -= shift
    return np.linalg.norm(points, axis=-1) < radius


@pytest.fixture
def shown() -> Comparison:
    labels = [Volume(ball(8, s).astype(np.int16) * 7, GRID) for s in (0.0, 5.0, 1.0)]
    images = [Volume(label.array.astype(np.float32) * 10, GRID) for label in labels]
    vectors = np.zeros((*GRID.shape, 3), np.float32)
    vectors[..., 0] = 2 * np.sin(GRID.points()[..., 1] / 5)
    return Comparison(
        *images,
        DisplacementField(vectors, GRID),
        np.eye(4),
        *labels,
        {7: "ball"},
        {"before": {7: 0.4}, "affine": {7: 0.6}, "after": {7: 0.9}},
        [["", "before", "affine", "after"], ["Dice", "0.4", "0.6", "0.9"]],
        title="a ball",
    )


def test_an_overview_is_a_readable_picture(shown: Comparison, tmp_path: Path) -> None:
    metrics.overview(shown, tmp_path / "overview.png")
    picture = imread(tmp_path / "overview.png")
    assert picture.shape[1] > 1500
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 0.05
    assert [file.name for file in tmp_path.iterdir()] == ["overview.png"]


def test_an_overview_needs_neither_labels_nor_metrics(shown: Comparison, tmp_path: Path) -> None:
    bare = Comparison(shown.fixed, shown.before, shown.after, shown.field)
    metrics.overview(bare, tmp_path / "overview.png")
    assert imread(tmp_path / "overview.png").shape[1] > 1500


def test_a_constant_image_and_a_folded_field_are_drawn(shown: Comparison, tmp_path: Path) -> None:
    flat = Volume(np.zeros(GRID.shape, np.float32), GRID)
    folded = DisplacementField(-3 * (GRID.points() - GRID.centre).astype(np.float32), GRID)
    metrics.overview(replace(shown, after=flat, field=folded), tmp_path / "overview.png")


def test_only_the_largest_of_many_labels_get_bars(shown: Comparison) -> None:
    many = np.zeros(GRID.shape, np.int16)
    for label in range(1, 41):
        many.flat[label * 100 : label * 100 + label] = label
    dice = {label: 0.5 + label / 100 for label in range(1, 41)}
    dice_or_none = {**dice, 40: None}
    chosen = metrics._charted(
        replace(shown, fixed_labels=Volume(many, GRID), dice={"after": dice_or_none})
    )
    assert chosen == list(range(39, 39 - metrics.MOST_BARS, -1))


def test_an_overlay_is_grey_where_the_images_agree() -> None:
    plane = planes(GRID, (5, 12, 10))[0]
    axis = Figure().add_subplot()
    fixed = np.full((24, 20), 0.5)
    moving = fixed.copy()
    moving[0, 0] = 1.0
    panels.show_overlay(axis, plane, fixed, moving)
    drawn = axis.images[0].get_array()
    assert np.allclose(drawn[1, 1], 0.5)
    assert drawn[0, 0, 1] > drawn[0, 0, 0]
    assert axis.images[0].get_extent() == [0.0, 20.0, 36.0, 0.0]  # mm: anisotropy is shown true


def test_the_linear_part_shows_no_volume_change() -> None:
    matrix = np.diag([1.3, 0.9, 1.1, 1.0])
    field = DisplacementField.from_affine(matrix, GRID)
    axis = Figure().add_subplot()
    panels.show_deformation(axis, planes(GRID, (5, 12, 10))[0], field, matrix)
    np.testing.assert_allclose(axis.images[0].get_array(), 0, atol=1e-5)


def test_the_curves_of_a_history_are_its_terms(tmp_path: Path) -> None:
    records = [{"step": n, "total": 1 / (n + 1), "ncc": 0.5, "seconds": n} for n in range(5)]
    axis = Figure().add_subplot()
    charts.curves(axis, records)
    assert {text.get_text() for text in axis.texts} == {"total", "ncc"}
    metrics.history(records, tmp_path / "history.png")
    assert imread(tmp_path / "history.png").shape[:2] == (495, 880)


def test_the_curves_are_broken_where_the_level_changes() -> None:
    records = [{"step": n, "level": level, "total": n} for n, level in enumerate([4, 4, 2, 2, 1])]
    axis = Figure().add_subplot()
    charts.curves(axis, records)
    drawn = axis.lines[0].get_ydata()
    assert [text.get_text() for text in axis.texts] == ["total"]
    np.testing.assert_array_equal(drawn, [0, 1, np.nan, 2, 3, np.nan, 4])


def test_an_empty_history_is_a_picture_that_says_so(tmp_path: Path) -> None:
    metrics.history([], tmp_path / "history.png")
    assert (tmp_path / "history.png").is_file()


def test_pictures_leave_matplotlib_as_it_was(shown: Comparison, tmp_path: Path) -> None:
    settings, backend = dict(mpl.rcParams), mpl.get_backend()
    metrics.overview(shown, tmp_path / "overview.png")
    assert dict(mpl.rcParams) == settings
    assert mpl.get_backend() == backend


def test_a_place_that_cannot_be_written_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RegRefineError, match="file"):
        metrics.history([], tmp_path / "file" / "history.png")
