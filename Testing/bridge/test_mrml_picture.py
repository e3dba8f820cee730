"""The picture of a report: a PNG of the middle slices, each volume at its place."""

from __future__ import annotations

import numpy as np
import pytest
from RegRefineBridge.mrml.picture import GAP, HEIGHT, picture
from support.mrml import addLinear, addVolume, grid, newScene, rigid, shape_at, vtk
from vtk.util.numpy_support import vtk_to_numpy

from RegRefineLib.geometry import Volume


def pixels(png, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png)
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width)[::-1]


@pytest.mark.parametrize("parent", [False, True])
def test_three_rows_of_three_slices(tmp_path, parent):
    scene = newScene()
    geometry = grid((20, 30, 40), (1.0, 2.0, 3.0))
    image = Volume(shape_at(geometry.points()).astype(np.float32), geometry)
    nodes = [addVolume(scene, image, name) for name in ("f", "m", "w")]
    if parent:
        transform = addLinear(scene, rigid())
        for node in nodes:
            node.SetAndObserveTransformNodeID(transform.GetID())
    found = pixels(picture(*nodes), tmp_path)
    assert found.shape[0] == 3 * (HEIGHT + GAP)
    assert found.any()
    row = found[:HEIGHT]
    width = round(40 * 1.0 / (30 * 2.0) * HEIGHT)  # the first axis: 30 x 40 voxels of 2 x 1 mm
    third = [row[:, n * (width + GAP) : n * (width + GAP) + width] for n in range(3)]
    np.testing.assert_array_equal(third[0], third[1])  # the same image, the same slice


def test_what_was_removed_is_left_out():
    scene = newScene()
    image = Volume(np.random.default_rng(0).random((6, 7, 8), np.float32), grid((6, 7, 8)))
    fixed, moving = (addVolume(scene, image, name) for name in ("f", "m"))
    scene.RemoveNode(moving)
    assert picture(fixed, moving, None).startswith(b"\x89PNG")
    scene.RemoveNode(fixed)
    assert picture(fixed, moving, None) == b""
