"""Transforms of other programs: read, written, and refused where they do not say what they are."""

from __future__ import annotations

import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.analytic import centred, displacement, field_on, rotation, volume_on

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.io.transforms import (
    KINDS,
    Grids,
    Named,
    named,
    read_chain,
    read_transform,
    write_chain,
    write_field,
)
from RegRefineLib.io.volumes import write_volume
from RegRefineLib.mapping import chain_of

TURN = rotation(np.array([0.3, -0.2, 0.5]))
FIXED = centred((12, 13, 14), np.array([2.0, 3.0, 2.5]), TURN @ np.diag([-1, 1, 1]))
MOVING = centred((14, 15, 13), np.array([3.0, 2.0, 2.2]), rotation(np.array([-0.1, 0.2, 0.3])))
GRIDS = Grids(FIXED, MOVING)
POINTS = np.random.default_rng(0).uniform(-8, 8, (30, 3))
MATRIX = np.eye(4)
MATRIX[:3, :3] = rotation(np.array([0.1, 0.2, -0.3])) @ np.diag([1.1, 0.9, 1.2])
MATRIX[:3, 3] = 4, -3, 6
MATRICES = {
    "itk": "a.tfm",
    "ras": "a.mat",
    "flirt": "f.mat",
    "lta": "a.lta",
    "elastix": "TransformParameters.0.txt",
}
FIELDS = {
    "itk": "w.nii.gz",
    "ras": "r.nii.gz",
    "fnirt": "f.nii.gz",
    "niftyreg": "n.nii",
    "spm": "y_s.nii",
    "voxels": "v.nii.gz",
    "elastix": "TransformParameters.1.txt",
}


@pytest.mark.parametrize("kind", MATRICES)
def test_matrices_come_back_through_every_kind_of_file(kind, tmp_path):
    path = f"{kind}:{tmp_path / MATRICES[kind]}"
    write_chain(chain_of(MATRIX), path, GRIDS)
    got = read_chain(path, GRIDS)
    np.testing.assert_allclose(got.matrix, MATRIX, atol=1e-6)


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("said", [True, False])
def test_fields_come_back_through_every_kind_of_file(kind, said, tmp_path):
    name = str(tmp_path / FIELDS[kind])
    write_chain(chain_of(field_on(FIXED)), f"{kind}:{name}", GRIDS)
    got = read_chain(f"{kind}:{name}" if said else name, GRIDS)
    np.testing.assert_allclose(got.points(POINTS), POINTS + field_on(FIXED).at(POINTS), atol=1e-4)


def test_a_flirt_matrix_takes_fsls_millimetres_of_the_moving_image_to_those_of_the_fixed(tmp_path):
    """By hand: FSL counts voxels times their size, the first axis backwards if right-handed."""
    forward = np.array([[1, 0.1, 0, 5], [-0.1, 1, 0, 3], [0, 0, 1, 2], [0, 0, 0, 1.0]])
    text = "".join("".join(f"{v:.10f}  " for v in row) + "\n" for row in forward)
    (tmp_path / "flirt.mat").write_text(text)
    got = read_chain(str(tmp_path / "flirt.mat"), GRIDS).matrix
    assert np.linalg.det(MOVING.affine[:3, :3]) > 0 > np.linalg.det(FIXED.affine[:3, :3])
    index = np.array([3.0, 4.0, 5.0])
    there = (MOVING.shape[2] - 1 - index[0]) * 3.0, index[1] * 2.0, index[2] * 2.2
    here = (forward @ [*there, 1])[:3] / [2.0, 3.0, 2.5]
    moved = got[:3, :3] @ FIXED.to_ras(here) + got[:3, 3]
    np.testing.assert_allclose(moved, MOVING.to_ras(index), atol=1e-6)
    with pytest.raises(RegRefineError, match="FLIRT matrix counts in both images"):
        read_chain(f"flirt:{tmp_path / 'flirt.mat'}")


def test_absolute_warps_of_fsl_are_told_from_relative_ones(tmp_path):
    write_chain(chain_of(field_on(FIXED)), f"fnirt:{tmp_path / 'rel.nii.gz'}", GRIDS)
    relative = nib.load(tmp_path / "rel.nii.gz")
    index = np.stack(np.meshgrid(*map(np.arange, FIXED.shape[::-1]), indexing="ij"), -1)
    values = np.asarray(relative.dataobj) + index * FIXED.spacing  # the fixed grid is left-handed
    image = nib.Nifti1Image(values.astype(np.float32), relative.affine, relative.header)
    nib.save(image, tmp_path / "abs.nii.gz")
    for name in ("rel", "abs"):
        got = read_chain(str(tmp_path / f"{name}.nii.gz"), GRIDS).points(POINTS)
        np.testing.assert_allclose(got, POINTS + field_on(FIXED).at(POINTS), atol=1e-3)


def nifti_vectors(path, vectors, intent=(0, "", 0), five=True, units="mm"):
    """Write (k, j, i, 3) vectors as nibabel does."""
    array = vectors.transpose(2, 1, 0, 3).astype(np.float32)
    image = nib.Nifti1Image(array[:, :, :, None] if five else array, FIXED.affine)
    image.header.set_intent(intent[0], (), intent[1], allow_unknown=True)
    image.header["intent_p1"] = intent[2]
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return str(path)


def test_vectors_are_taken_for_what_their_header_says(tmp_path):
    points, moves = FIXED.points(), displacement(FIXED.points())
    lps, ras = moves * [-1, -1, 1], moves
    files = {
        "ants": nifti_vectors(tmp_path / "a.nii", lps, (1007, "", 0)),
        "ras": nifti_vectors(tmp_path / "b.nii", ras, (1006, "", 0)),
        "ras4": nifti_vectors(tmp_path / "c.nii", ras, (1006, "", 0), five=False),
        "niftyreg": nifti_vectors(tmp_path / "d.nii", points + ras, (1007, "NREG_TRANS", 0)),
        "displaced": nifti_vectors(tmp_path / "e.nii", ras, (1007, "NREG_TRANS", 1)),
        "spm": nifti_vectors(tmp_path / "f.nii", points + ras, (1007, "Mapping", 0)),
    }
    for name, path in files.items():
        got = read_transform(path)
        assert np.abs(got.vectors - moves).max() < 1e-4, name
    named_voxels = nifti_vectors(tmp_path / "v.nii", field_on(FIXED).to_voxels(), five=False)
    assert np.abs(read_transform(f"voxels:{named_voxels}").vectors - moves).max() < 1e-4


REFUSED = {
    "no intent (VoxelMorph)": ((0, "", 0), False, "does not say in which units"),
    "unknown name": ((1007, "somebody's", 0), True, "vectors of an unknown kind"),
    "spline of NiftyReg": ((1007, "NREG_TRANS", 2), True, "control point grid"),
    "velocities of NiftyReg": ((1007, "NREG_TRANS", 4), True, "reg_transform -def"),
    "coefficients of FNIRT": ((2007, "", 0), False, "FNIRT's coefficients"),
    "FNIRT without an image": ((2006, "", 0), False, "--moving"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_vectors_of_unknown_meaning_are_refused(case, tmp_path):
    intent, five, words = REFUSED[case]
    path = nifti_vectors(tmp_path / "x.nii.gz", displacement(FIXED.points()), intent, five)
    with pytest.raises(RegRefineError, match=words):
        read_transform(path)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
def test_positions_that_pose_as_displacements_are_refused(signs, ending, tmp_path):
    positions = FIXED.points() + displacement(FIXED.points())
    path = tmp_path / f"p.{ending}"
    write_field(DisplacementField(positions * signs, FIXED), path)
    with pytest.raises(RegRefineError, match="positions, not displacements"):
        read_transform(path)


def test_units_that_are_not_said_are_doubted(tmp_path):
    moves = displacement(FIXED.points()) * [-1, -1, 1]
    path = nifti_vectors(tmp_path / "w.nii", moves, (1007, "", 0), units="unknown")
    with pytest.warns(RegRefineWarning, match=r"taken for ITK's .* voxels:"):
        read_transform(path)


def test_holes_of_spm_move_as_the_nearest_voxel(tmp_path):
    positions = FIXED.points() + displacement(FIXED.points())
    positions[0, 0, 0] = np.nan
    path = nifti_vectors(tmp_path / "y.nii", positions, (1007, "Mapping", 0))
    with pytest.warns(RegRefineWarning, match="no position in 1 voxels"):
        got = read_transform(path)
    assert np.abs(got.vectors[0, 0, 0] - displacement(FIXED.points())[0, 0, 0]).max() < 1


def test_fields_keep_their_linear_part_in_nrrd(tmp_path):
    write_field(DisplacementField.from_affine(MATRIX, FIXED), tmp_path / "t.nrrd")
    got = read_transform(tmp_path / "t.nrrd")
    np.testing.assert_allclose(got.linear, MATRIX)
    far = POINTS * 40
    np.testing.assert_allclose(far + got.at(far), far @ MATRIX[:3, :3].T + MATRIX[:3, 3], atol=1e-3)


def itk_kinds():
    centre, shift, turn = (3.0, -4.0, 5.0), (4.0, -3.0, 6.0), (0.1, -0.15, 0.2)
    versor = ((0.1, 0.2, 0.3), 0.25, shift, centre)
    scales, skews = (1.1, 0.9, 1.05), (0.05, 0.02, 0.0, 0.01, 0.0, 0.0)
    return {
        "versor rotation": sitk.VersorTransform((0.1, 0.2, 0.3), 0.25, centre),
        "scale-versor": sitk.ScaleVersor3DTransform(scales, *versor),
        "scale-skew-versor": sitk.ScaleSkewVersor3DTransform(scales, skews, *versor),
        "euler zyx": sitk.Euler3DTransform(centre, *turn, shift),
    }


HEAD = "#Insight Transform File V1.0\n#Transform 0\n"
TEXT = HEAD + "Transform: {}_double_3_3\nParameters: {}\nFixedParameters: {}\n"
NUMBERS = "1.1 0.1 0 0 0.9 0.05 0.1 0 1.05 3 4 5"
AFFINE = sitk.AffineTransform([1.1, 0.1, 0, 0, 0.9, 0.05, 0.1, 0, 1.05], (3, 4, 5), (7, 8, 9))
EULER = sitk.Euler3DTransform((7, 8, 9), 0.1, -0.15, 0.2, (3, 4, 5))
# kinds of ITK that SimpleITK has no class for, as c3d, old ANTs and BRAINS write them
CLASSLESS = {
    "MatrixOffsetTransformBase": (NUMBERS, "7 8 9", AFFINE),
    "FixedCenterOfRotationAffineTransform": (NUMBERS, "7 8 9", AFFINE),
    "ScalableAffineTransform": (NUMBERS, "7 8 9", AFFINE),
    "CenteredAffineTransform": ("1.1 0.1 0 0 0.9 0.05 0.1 0 1.05 7 8 9 3 4 5", "0 0 0", AFFINE),
    "CenteredEuler3DTransform": ("0.1 -0.15 0.2 7 8 9 3 4 5", "0 0 0 0", EULER),
}


def moved_by(transform: sitk.Transform) -> np.ndarray:
    moved = [transform.TransformPoint(p) for p in (POINTS * [-1, -1, 1]).tolist()]
    return np.array(moved) * [-1, -1, 1]


@pytest.mark.parametrize("name", list(itk_kinds()))
@pytest.mark.parametrize("composite", [False, True])
def test_kinds_of_itk_are_read_alone_and_in_a_composite_of_one(name, composite, tmp_path):
    transform = itk_kinds()[name]
    if composite:
        transform = sitk.CompositeTransform([transform])
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    got = read_chain(str(tmp_path / "t.tfm")).points(POINTS)
    np.testing.assert_allclose(got, moved_by(transform), atol=1e-6)


@pytest.mark.parametrize("name", CLASSLESS)
@pytest.mark.parametrize("form", ["alone", "composite", "mat"])
def test_kinds_that_simpleitk_has_no_class_for_are_read(name, form, tmp_path):
    numbers, fixed, same = CLASSLESS[name]
    text, path = TEXT.format(name, numbers, fixed), tmp_path / "t.txt"
    if form == "composite":
        head = f"{HEAD}Transform: CompositeTransform_double_3_3\n#Transform 1\n"
        text = head + text.removeprefix(HEAD)
    path.write_text(text)
    if form == "mat":
        path = tmp_path / "t.mat"
        path.write_bytes(matlab(f"{name}_double_3_3", numbers) + matlab("fixed", fixed))
    np.testing.assert_allclose(read_chain(str(path)).points(POINTS), moved_by(same), atol=1e-6)


def matlab(name: str, numbers: str) -> bytes:
    """A vector in MATLAB's version 4, as ITK writes transforms to .mat."""
    values = np.array([float(word) for word in numbers.split()])
    head = struct.pack("<5i", 0, len(values), 1, 0, len(name) + 1)
    return head + name.encode() + b"\0" + values.tobytes()


def test_several_transforms_in_a_file_are_all_taken_which_is_said(tmp_path):
    one = TEXT.format("AffineTransform", NUMBERS, "7 8 9")
    other = TEXT.format("Euler3DTransform", "0.1 -0.15 0.2 3 4 5", "7 8 9 0").removeprefix(HEAD)
    (tmp_path / "two.tfm").write_text(f"{one}#Transform 1\n{other}")
    with pytest.warns(RegRefineWarning, match="2 transforms that are no composite"):
        got = read_chain(str(tmp_path / "two.tfm"))
    composite = sitk.CompositeTransform([AFFINE, EULER])
    np.testing.assert_allclose(got.points(POINTS), moved_by(composite), atol=1e-9)


def test_words_name_kinds_and_inverses(tmp_path):
    assert named("a.mat,-1") == Named("a.mat", None, True)
    assert named("[a.mat,1]") == Named("a.mat", None, True)
    assert named("[a.mat,0]") == Named("a.mat")
    assert named("flirt:a.mat,-1") == Named("a.mat", "flirt", True)
    assert named("C:/a.mat") == Named("C:/a.mat")
    odd = tmp_path / "itk:x,-1"
    odd.touch()
    assert named(str(odd)) == Named(str(odd))
    assert set(KINDS) >= {*MATRICES, *FIELDS}


def test_what_a_kind_cannot_hold_is_refused(tmp_path):
    field = chain_of(field_on(FIXED))
    for word, words in {
        f"flirt:{tmp_path / 'a.mat'}": "flirt holds matrices alone",
        f"spm:{tmp_path / 'a.nrrd'}": r"name it \.nii\.gz",
        f"fnirt:{tmp_path / 'a.nii.gz'}": "need the moving image",
    }.items():
        with pytest.raises(RegRefineError, match=words):
            write_chain(field, word, Grids())
    with pytest.raises(RegRefineError, match="name them with --fixed and --moving"):
        write_chain(chain_of(MATRIX), f"lta:{tmp_path / 'a.lta'}", Grids())
    with pytest.raises(RegRefineError, match="a grid is needed"):
        write_chain(chain_of(MATRIX), f"{tmp_path / 'a.nii.gz'}", Grids())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["lta", "mat", "txt"])
def test_damaged_texts_are_refused(ending, tmp_path):
    for n, text in enumerate(("type = 1\nnxforms = 1\n", "1 2 3 4\n" * 4, '(Transform "Other")\n')):
        path = tmp_path / f"{n}.{ending}"
        path.write_text(text)
        with pytest.raises(RegRefineError, match=str(path)):
            read_chain(str(path))
    write_volume(volume_on(Geometry((3, 4, 5), np.eye(4))), tmp_path / "image.nii.gz")
    with pytest.raises(RegRefineError, match="not a displacement field: 1 value"):
        read_transform(tmp_path / "image.nii.gz")


def test_damage_that_fuzzing_found_is_refused(tmp_path):
    write_field(field_on(FIXED), tmp_path / "f.tfm")
    text = (
        (tmp_path / "f.tfm")
        .read_text()
        .replace("FixedParameters: 14 13 12", "FixedParameters: 0 0 0")
    )
    (tmp_path / "f.tfm").write_text(text)
    with pytest.raises(RegRefineError, match=r"f\.tfm"):
        read_transform(tmp_path / "f.tfm")
    write_field(field_on(FIXED), tmp_path / "f.mha")
    data = (
        (tmp_path / "f.mha").read_bytes().replace(b"intent_code = ", b"intent\xff\xfe_code = ", 1)
    )
    (tmp_path / "f.mha").write_bytes(data)
    assert read_transform(tmp_path / "f.mha").geometry.same_grid(FIXED)


def test_lta_files_in_voxels_and_without_images(tmp_path):
    """The two other kinds that FreeSurfer writes: type 0, and images that are not described."""
    write_chain(chain_of(MATRIX), str(tmp_path / "a.lta"), GRIDS)
    text = (tmp_path / "a.lta").read_text()
    rows = text.split("1 4 4\n")[1].splitlines(keepends=True)[:4]
    voxels = FIXED.inverse_affine @ np.linalg.inv(MATRIX) @ MOVING.affine
    numbers = "".join(" ".join(f"{v:.12g}" for v in row) + " \n" for row in voxels)
    changed = text.replace("".join(rows), numbers).replace("type      = 1", "type      = 0")
    (tmp_path / "v.lta").write_text(changed)
    np.testing.assert_allclose(read_transform(tmp_path / "v.lta"), MATRIX, atol=1e-6)
    (tmp_path / "n.lta").write_text(text.replace("valid = 1", "valid = 0"))
    np.testing.assert_allclose(read_transform(tmp_path / "n.lta"), MATRIX, atol=1e-6)
    (tmp_path / "b.lta").write_text(changed.replace("valid = 1", "valid = 0"))
    with pytest.raises(RegRefineError, match="voxels of images that it does not describe"):
        read_transform(tmp_path / "b.lta")
