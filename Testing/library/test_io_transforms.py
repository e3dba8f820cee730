from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.analytic import centred, displacement, field_on, geometries, rotation, volume_on

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField
from RegRefineLib.io.transforms import read_transform, write_affine, write_field
from RegRefineLib.io.volumes import write_volume

quick = settings(max_examples=40, deadline=None, derandomize=True)
GRID = centred((5, 6, 7), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))
FIELD_ENDINGS = ["nrrd", "mha", "nii", "nii.gz", "h5", "hdf5", "tfm", "txt"]
TURN, SHIFT, CENTRE = (0.2, -0.1, 0.3), (4.0, -5.0, 6.0), (10.0, 20.0, -30.0)


def flipped(points):
    """LPS of RAS and the other way, written out once more for the tests."""
    return np.asarray(points) * [-1, -1, 1]


def moved_by(transform: sitk.Transform, points_ras: np.ndarray) -> np.ndarray:
    return np.array([flipped(transform.TransformPoint(p)) for p in flipped(points_ras).tolist()])


POINTS = np.random.default_rng(3).uniform(-50, 50, (6, 3))


@quick
@given(geometry=geometries(extent_mm=9), ending=st.sampled_from(FIELD_ENDINGS))
def test_fields_come_back_from_every_format_and_orientation(geometry, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("transforms") / f"field.{ending}"
    field = field_on(geometry)
    write_field(field, path)
    got = read_transform(path)
    assert isinstance(got, DisplacementField)
    assert got.vectors.dtype == np.float32
    assert np.abs(got.vectors - field.vectors).max() < 1e-6
    assert np.abs(got.geometry.corners() - geometry.corners()).max() < 1e-4


@pytest.mark.parametrize("ending", FIELD_ENDINGS)
def test_simpleitk_moves_points_by_our_field_files(ending, tmp_path):
    write_field(field_on(GRID), tmp_path / f"field.{ending}")
    path = str(tmp_path / f"field.{ending}")
    if ending in ("h5", "hdf5", "tfm", "txt"):
        transform = sitk.ReadTransform(path)
        assert transform.GetTransformEnum() == sitk.sitkDisplacementField
    else:
        image = sitk.ReadImage(path, sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(image)
    points = GRID.points()[::2, ::3, ::3].reshape(-1, 3)
    assert np.abs(moved_by(transform, points) - points - displacement(points)).max() < 1e-5


def test_nrrd_fields_say_what_they_are(tmp_path):
    write_field(field_on(GRID), tmp_path / "field.nrrd")
    header = (tmp_path / "field.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "kinds: vector domain domain domain" in header
    assert "displacement field type:=resampling" in header
    assert "intent_code:=1006" in header


def matrices():
    rng = np.random.default_rng(0)
    for _ in range(3):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(rng.uniform(-1, 1, 3)) + rng.uniform(-0.2, 0.2, (3, 3))
        matrix[:3, 3] = rng.uniform(-100, 100, 3)
        yield matrix


@pytest.mark.parametrize("ending", ["tfm", "txt", "mat", "h5", "hdf5"])
@pytest.mark.parametrize("matrix", list(matrices()))
def test_matrices_come_back_and_simpleitk_moves_points_by_them(matrix, ending, tmp_path):
    write_affine(matrix, tmp_path / f"affine.{ending}")
    assert np.allclose(read_transform(tmp_path / f"affine.{ending}"), matrix, atol=1e-12)
    transform = sitk.ReadTransform(str(tmp_path / f"affine.{ending}"))
    expected = POINTS @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.allclose(moved_by(transform, POINTS), expected)


def linear_transforms():
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((rotation(np.array(TURN)) @ np.diag([1.1, 0.9, 1.2])).ravel().tolist())
    affine.SetTranslation(SHIFT)
    affine.SetCenter(CENTRE)
    scale = sitk.ScaleTransform(3, (1.1, 0.9, 1.3))
    scale.SetCenter(CENTRE)
    euler = sitk.Euler3DTransform(CENTRE, *TURN, SHIFT)
    versor = sitk.VersorRigid3DTransform((0.0, 0.6, 0.8), 0.4, SHIFT, CENTRE)
    similarity = sitk.Similarity3DTransform(1.2, (0.0, 0.6, 0.8), 0.4, SHIFT, CENTRE)
    shift = sitk.TranslationTransform(3, SHIFT)
    return {
        "affine": affine,
        "euler": euler,
        "versor": versor,
        "similarity": similarity,
        "scale": scale,
        "translation": shift,
        "identity": sitk.Transform(3, sitk.sitkIdentity),
        "composite": sitk.CompositeTransform([euler, affine, shift]),
    }


@pytest.mark.parametrize("ending", ["tfm", "h5", "mat"])
@pytest.mark.parametrize("kind", list(linear_transforms()))
def test_every_kind_of_linear_transform_becomes_a_matrix(kind, ending, tmp_path):
    if (kind, ending) == ("composite", "mat"):
        pytest.skip("ITK writes no composites to .mat")
    transform = linear_transforms()[kind]
    sitk.WriteTransform(transform, str(tmp_path / f"t.{ending}"))
    matrix = read_transform(tmp_path / f"t.{ending}")
    expected = moved_by(transform, POINTS)
    assert np.allclose(POINTS @ matrix[:3, :3].T + matrix[:3, 3], expected, atol=1e-9)


def spline():
    """A B-spline about 100 mm wide around the origin with coefficients up to 3 mm."""
    block = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    block.SetSpacing([5.0, 5, 5])
    block.SetOrigin([-50.0, -50, -50])
    transform = sitk.BSplineTransformInitializer(block, [4, 4, 4])
    count = len(transform.GetParameters())
    transform.SetParameters(np.random.default_rng(0).uniform(-3, 3, count).tolist())
    return transform


@pytest.mark.parametrize("ending", ["tfm", "h5"])
@pytest.mark.parametrize("composite", [False, True])
def test_splines_and_composites_are_put_on_the_reference(ending, composite, tmp_path):
    transform = spline()
    if composite:
        transform = sitk.CompositeTransform([linear_transforms()["affine"], transform])
    path = tmp_path / f"t.{ending}"
    sitk.WriteTransform(transform, str(path))
    with pytest.raises(RegRefineError, match=r"without a grid of its own .* reference"):
        read_transform(path)
    field = read_transform(path, GRID)
    assert field.geometry.same_grid(GRID)
    points = GRID.points().reshape(-1, 3)[::17]
    moved = points + field.vectors.reshape(-1, 3)[::17]
    assert np.abs(moved - moved_by(transform, points)).max() < 1e-4


def test_a_composite_of_one_field_keeps_the_fields_grid(tmp_path):
    write_field(field_on(GRID), tmp_path / "field.h5")
    inner = sitk.ReadTransform(str(tmp_path / "field.h5"))
    sitk.WriteTransform(sitk.CompositeTransform([inner]), str(tmp_path / "one.h5"))
    got = read_transform(tmp_path / "one.h5")
    assert got.geometry.same_grid(GRID)
    assert np.abs(got.vectors - field_on(GRID).vectors).max() < 1e-6


def test_fields_stored_from_moving_to_fixed_are_refused(tmp_path):
    write_field(field_on(GRID), tmp_path / "field.nrrd")
    data = (tmp_path / "field.nrrd").read_bytes()
    data = data.replace(b"field type:=resampling", b"field type:=modeling")
    (tmp_path / "field.nrrd").write_bytes(data)
    with pytest.raises(RegRefineError, match=r"stored from moving to fixed points .* modeling"):
        read_transform(tmp_path / "field.nrrd")


def refused(path, words, capfd):
    with pytest.raises(RegRefineError, match=words) as caught:
        read_transform(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ["h5", "tfm", "mat", "txt"])
def test_damaged_transform_files_are_refused_without_noise(ending, tmp_path, capfd):
    refused(tmp_path / f"none.{ending}", "there is no such file", capfd)
    path = tmp_path / f"t.{ending}"
    path.write_text("1 0 0 0\n0 1 0 0\n0 0 1\n0 0 0 1\n")
    refused(path, "damaged, or not an ITK transform", capfd)
    write_affine(np.eye(4), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "damaged, or not an ITK transform", capfd)


def test_transforms_of_other_kinds_are_refused(tmp_path, capfd):
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    refused(tmp_path / "flat.tfm", "a 2-D transform", capfd)
    write_volume(volume_on(GRID), tmp_path / "image.nrrd")
    refused(tmp_path / "image.nrrd", "not a displacement field: 1 value", capfd)
    (tmp_path / "t.xfm").write_text("x")
    refused(tmp_path / "t.xfm", r"unknown file type; .*\.h5", capfd)
    scale = sitk.AffineTransform(3)
    scale.SetMatrix([1.0, 0, 0, 0, 1, 0, 0, 0, 1])
    sitk.WriteTransform(scale, str(tmp_path / "s.tfm"))
    text = (tmp_path / "s.tfm").read_text().replace("0 0 1 0 0 0", "0 0 0 0 0 0", 1)
    (tmp_path / "s.tfm").write_text(text)
    refused(tmp_path / "s.tfm", "the matrix is singular", capfd)


@pytest.mark.parametrize("ending", ["nrrd", "h5"])
def test_fields_with_nan_are_refused(ending, tmp_path, capfd):
    vectors = field_on(GRID).vectors.copy()
    vectors[1, 2, 3, 0] = np.nan
    write_field(DisplacementField(vectors, GRID), tmp_path / f"f.{ending}")
    refused(tmp_path / f"f.{ending}", "1 displacements are NaN or infinite", capfd)


def test_what_cannot_be_written_is_refused(tmp_path):
    field = field_on(GRID)
    for ending in ("mat", "xyz", "nhdr"):
        with pytest.raises(RegRefineError, match="unknown file type; a displacement field"):
            write_field(field, tmp_path / f"f.{ending}")
    with pytest.raises(RegRefineError, match="unknown file type; a matrix"):
        write_affine(np.eye(4), tmp_path / "a.nrrd")
    with pytest.raises(RegRefineError, match=r"a\.tfm: the matrix is singular"):
        write_affine(np.diag([1.0, 1, 0, 1]), tmp_path / "a.tfm")
    assert not list(tmp_path.iterdir())
