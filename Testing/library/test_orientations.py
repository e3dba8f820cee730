"""Every way to lay a grid in space gives the same physical answer, by every road to it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.analytic import (
    ORIENTATIONS,
    centred,
    displacement,
    field_on,
    inside,
    intensity,
    rotation,
    volume_on,
)

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry
from RegRefineLib.io.transforms import read_transform, write_affine, write_field
from RegRefineLib.io.volumes import read_volume, write_volume
from RegRefineLib.ops.warp import from_millimetres, to_millimetres, warp
from RegRefineLib.resample import resample

EVERY = range(len(ORIENTATIONS))
TOLERANCE = 0.15  # of intensities around 40: what linear interpolation loses at 1 to 2 mm


def random_grid(number: int, extent_mm: float, oblique: bool = True) -> Geometry:
    """Orientation `number` of 48, with spacing and, if `oblique`, a turn that are random."""
    rng = np.random.default_rng(number)
    spacing = rng.uniform(0.9, 2.2, 3)
    direction = ORIENTATIONS[number % 48]
    if oblique:
        direction = rotation(rng.uniform(-0.6, 0.6, 3)) @ direction
    shape = tuple(int(np.ceil(extent_mm / s)) + 1 for s in spacing[::-1])
    return centred(shape, spacing, direction)


def test_there_are_48_different_orientations():
    assert len({tuple(d.ravel() + 0.0) for d in ORIENTATIONS}) == 48
    assert all(abs(np.linalg.det(d)) == 1 for d in ORIENTATIONS)


@pytest.mark.parametrize("number", EVERY)
def test_simpleitk_and_we_warp_alike_through_files_and_agree_with_the_formula(number, tmp_path):
    fixed = random_grid(number, 22)
    moving = random_grid(47 - number + 100, 40, oblique=number % 3 > 0)
    write_volume(volume_on(moving), tmp_path / "moving.nii.gz")
    write_volume(volume_on(fixed), tmp_path / "fixed.mha")
    write_field(field_on(fixed), tmp_path / "transform.nrrd")

    points = fixed.points()
    expected = intensity(points + displacement(points))
    known = inside(moving, points + displacement(points))
    assert known.mean() > 0.5

    image = sitk.ReadImage(str(tmp_path / "transform.nrrd"), sitk.sitkVectorFloat64)
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(
            sitk.ReadImage(str(tmp_path / "moving.nii.gz")),
            sitk.ReadImage(str(tmp_path / "fixed.mha")),
            sitk.DisplacementFieldTransform(image),
            sitk.sitkLinear,
            -1.0,
        )
    )
    read = read_volume(tmp_path / "moving.nii.gz")
    field = read_transform(tmp_path / "transform.nrrd")
    ours = resample(read, field.geometry, field, outside=-1.0).array
    assert np.abs(theirs - expected)[known].max() < TOLERANCE
    assert np.abs(ours - expected)[known].max() < TOLERANCE
    assert np.abs(ours - theirs)[known].max() < 1e-3


@pytest.mark.parametrize("number", EVERY)
def test_torch_warps_to_the_formula_on_any_grid(number):
    grid = random_grid(number, 30)
    field = field_on(grid)
    image = torch.from_numpy(np.array(volume_on(grid).array))[None, None]
    moved = warp(image, from_millimetres(field))[0, 0].numpy()
    target = grid.points() + field.vectors
    known = inside(grid, target, margin=0.01)
    assert known.mean() > 0.5
    assert np.abs(moved - intensity(target))[known].max() < TOLERANCE
    assert np.allclose(moved[known], resample(volume_on(grid), grid, field).array[known], atol=1e-3)
    again = to_millimetres(from_millimetres(field), grid)
    assert np.abs(again.vectors - field.vectors).max() < 1e-5


@pytest.fixture(scope="module")
def mrml():
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    return slicer.vtkMRMLScene()


@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz", "h5", "tfm"])
@pytest.mark.parametrize("number", [0, 13, 29, 46])
def test_slicer_takes_fixed_points_to_moving_points_by_our_files(mrml, ending, number, tmp_path):
    grid = random_grid(number, 12)
    field = field_on(grid)
    write_field(field, tmp_path / f"transform.{ending}")
    node = read_by_slicer(mrml, tmp_path / f"transform.{ending}")
    from_parent = node.GetTransformFromParent()
    for i, j, k in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
        point = grid.to_ras([i, j, k])
        moved = np.array(from_parent.TransformPoint(point))
        assert np.abs(moved - point - field.vectors[k, j, i]).max() < 1e-5
    mrml.RemoveNode(node)


@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii.gz", "h5", "tfm"])
def test_we_read_slicers_fields_as_slicer_means_them(mrml, ending, tmp_path):
    field = field_on(random_grid(21, 12))
    write_field(field, tmp_path / "ours.nrrd")
    node = read_by_slicer(mrml, tmp_path / "ours.nrrd")
    write_by_slicer(mrml, node, tmp_path / f"slicers.{ending}")
    got = read_transform(tmp_path / f"slicers.{ending}")
    assert got.geometry.same_grid(field.geometry)
    assert np.abs(got.vectors - field.vectors).max() < 1e-5
    mrml.RemoveNode(node)


@pytest.mark.parametrize("ending", ["tfm", "h5", "mat"])
def test_slicer_and_we_exchange_matrices(mrml, ending, tmp_path):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.2, -0.5, 0.9])) @ np.diag([1.1, 0.9, 1.2])
    matrix[:3, 3] = [10, -20, 30]
    write_affine(matrix, tmp_path / f"ours.{ending}")
    node = read_by_slicer(mrml, tmp_path / f"ours.{ending}")
    moved = node.GetTransformFromParent().TransformPoint([1.0, 2.0, 3.0])
    assert np.allclose(moved, (matrix @ [1, 2, 3, 1])[:3], atol=1e-6)
    write_by_slicer(mrml, node, tmp_path / f"slicers.{ending}")
    assert np.allclose(read_transform(tmp_path / f"slicers.{ending}"), matrix, atol=1e-6)
    mrml.RemoveNode(node)


def test_slicers_fields_from_moving_to_fixed_are_refused(mrml, tmp_path):
    write_field(field_on(random_grid(5, 10)), tmp_path / "ours.nrrd")
    node = read_by_slicer(mrml, tmp_path / "ours.nrrd")
    node.Inverse()
    write_by_slicer(mrml, node, tmp_path / "inverse.nrrd")
    with pytest.raises(RegRefineError, match=r"inverse\.nrrd: stored from moving to fixed"):
        read_transform(tmp_path / "inverse.nrrd")
    write_by_slicer(mrml, node, tmp_path / "inverse.h5")
    with pytest.raises(RegRefineError, match=r"inverse\.h5: "):
        read_transform(tmp_path / "inverse.h5")
    mrml.RemoveNode(node)


def read_by_slicer(mrml, path):
    storage = mrml.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(path))
    node = mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    assert storage.ReadData(node)
    mrml.RemoveNode(storage)
    return node


def write_by_slicer(mrml, node, path):
    storage = mrml.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    mrml.RemoveNode(storage)
