"""Where to look: the places in doubt are where they were put."""

from __future__ import annotations

import numpy as np
import pytest
from RegRefineBridge.mrml.places import jumpTo, placesInDoubt
from scipy import ndimage
from support.mrml import addVolume, grid, newScene

from RegRefineLib.geometry import Volume

GRID = grid((40, 44, 48), direction="oblique")


@pytest.fixture
def scene():
    return newScene()


def texture():
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter(rng.normal(size=GRID.shape), 1.5).astype(np.float32)


def test_a_fold_a_stretch_and_the_farthest_are_found(scene):
    jacobian = np.ones(GRID.shape, np.float32)
    jacobian[10, 20, 30], jacobian[5, 6, 7] = -0.4, 4.0
    lengths = np.zeros(GRID.shape, np.float32)
    lengths[1, 2, 3] = 12.3
    nodes = {
        "jacobian": addVolume(scene, Volume(jacobian, GRID)),
        "displacement": addVolume(scene, Volume(lengths, GRID)),
    }
    places = placesInDoubt(None, nodes)
    assert [place.words for place in places] == [
        "folds (volume change -0.4)",
        "stretched most: to 4.0 times its volume",
        "moved farthest: 12.3 mm",
    ]
    for place, index in zip(places, [(30, 20, 10), (7, 6, 5), (3, 2, 1)], strict=True):
        np.testing.assert_allclose(place.point, GRID.to_ras(index))


def test_where_the_images_differ_is_found_and_a_good_result_has_no_doubts(scene):
    image = texture()
    other = image.copy()
    other[18:24, 24:30, 30:36] = np.random.default_rng(1).normal(size=(6, 6, 6)) * image.std()
    fixed = addVolume(scene, Volume(image, GRID), "fixed")
    nodes = {"warpedVolume": addVolume(scene, Volume(other, GRID), "warped")}
    place = placesInDoubt(fixed, nodes)[0]
    assert "agree least" in place.words
    np.testing.assert_allclose(place.point, GRID.to_ras((32.5, 26.5, 20.5)))
    same = {
        "warpedVolume": addVolume(scene, Volume(2 * image + 1, GRID)),
        "jacobian": addVolume(scene, Volume(np.ones(GRID.shape), GRID)),
    }
    assert placesInDoubt(fixed, same) == []


def test_the_slice_views_go_there(scene):
    views = [scene.AddNewNodeByClass("vtkMRMLSliceNode") for _ in range(3)]
    jumpTo(scene, np.array([1.0, -2.0, 30.0]))
    for view in views:
        matrix = view.GetSliceToRAS()
        assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx([1.0, -2.0, 30.0])
