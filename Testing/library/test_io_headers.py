"""NIfTI headers that say two things, or too little: nibabel's place, differences are said."""

from __future__ import annotations

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.analytic import rotation

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import read_frames, read_labels, read_volume, write_volume

SHAPE = (6, 7, 8)  # i, j, k
NUMBERS = np.arange(336).reshape(SHAPE).astype(np.float32)
BASE = np.diag([1.5, 2.0, 2.5, 1.0])
SHIFTED = BASE + np.array([[0, 0, 0, 5], [0, 0, 0, -7], [0, 0, 0, 9], [0, 0, 0, 0]])
OBLIQUE = BASE.copy()
OBLIQUE[:3, :3] = rotation(np.array([0.3, -0.2, 0.5])) @ BASE[:3, :3]
LEFT = OBLIQUE @ np.diag([-1.0, 1, 1, 1])
SHEARED = BASE.copy()
SHEARED[0, 1] = 0.3
NEARLY = OBLIQUE + np.pad(np.random.default_rng(1).normal(scale=3e-4, size=(3, 3)), (0, 1))
SCALED = BASE.copy()
SCALED[:3, :3] *= 1.1


def written(path, sform, qform, units=None):
    """A file with these (matrix, code) in its header."""
    image = nib.Nifti1Image(NUMBERS, BASE)
    image.set_sform(*sform)
    image.header.set_qform(*qform, strip_shears=True)
    if units:
        image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


# what the two forms say -> what is said about it (None: nothing)
FORMS = {
    "sform alone": ((SHIFTED, 1), (None, 0), None),
    "qform alone": ((None, 0), (SHIFTED, 1), None),
    "both alike": ((OBLIQUE, 1), (OBLIQUE, 1), None),
    "left-handed": ((LEFT, 1), (LEFT, 1), None),
    "another qform": ((SHIFTED, 2), (BASE, 1), "up to 12.4 mm apart; the sform .code 2. is taken"),
    "atlas and scanner": ((OBLIQUE, 4), (BASE, 1), "mm apart.*ITK programs show it up to"),
    "sheared": ((SHEARED, 2), (BASE, 1), "ITK programs show it up to 1.8 mm elsewhere"),
    "sheared alone": ((SHEARED, 2), (None, 0), "ITK programs refuse it"),
    "nearly straight": ((NEARLY, 1), (OBLIQUE, 1), None),
    "other lengths": ((SCALED, 2), (BASE, 1), "mm apart"),
    "neither": ((None, 0), (None, 0), "left and right are a guess"),
}


@pytest.mark.parametrize("case", FORMS)
def test_voxels_lie_where_nibabel_puts_them(case, tmp_path):
    sform, qform, said = FORMS[case]
    path = written(tmp_path / "i.nii.gz", sform, qform)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RegRefineWarning)
        got = read_volume(path)
    np.testing.assert_allclose(got.geometry.affine, nib.load(path).affine, atol=1e-6)
    np.testing.assert_array_equal(got.array, NUMBERS.T)
    sentences = " ".join(str(w.message) for w in caught)
    if said is None:
        assert "apart" not in sentences
    else:
        with pytest.warns(RegRefineWarning, match=said):
            read_volume(path)


def test_labels_saved_with_nibabel_lie_on_their_image(tmp_path):
    """What people do: load an image, make labels of it, save them with the image's affine."""
    path = written(tmp_path / "i.nii.gz", (OBLIQUE, 4), (BASE, 1))
    image = nib.load(path)
    nib.save(nib.Nifti1Image((NUMBERS > 99).astype(np.uint8), image.affine), tmp_path / "l.nii.gz")
    with pytest.warns(RegRefineWarning):
        place = read_volume(path).geometry
    assert read_labels(tmp_path / "l.nii.gz").volume.geometry.same_grid(place)


@pytest.mark.parametrize(("unit", "mm"), [("micron", 1e-3), ("meter", 1e3)])
def test_lengths_in_other_units_become_millimetres(unit, mm, tmp_path):
    path = written(tmp_path / "i.nii", (OBLIQUE, 1), (OBLIQUE, 1), (unit, "sec"))
    with pytest.warns(RegRefineWarning, match="header counts in m"):
        got = read_volume(path)
    np.testing.assert_allclose(got.geometry.affine[:3], OBLIQUE[:3] * mm, rtol=1e-5)


@pytest.mark.parametrize("affine", [OBLIQUE, LEFT, SHEARED])
def test_both_forms_are_written_alike_but_for_shear(affine, tmp_path):
    write_volume(Volume(NUMBERS.T, Geometry(SHAPE[::-1], affine)), tmp_path / "o.nii.gz")
    header = nib.load(tmp_path / "o.nii.gz").header
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    assert int(header["sform_code"]) == 1
    if affine is SHEARED:
        assert int(header["qform_code"]) == 0
    else:
        assert int(header["qform_code"]) == 1
        np.testing.assert_allclose(header.get_qform(), affine, atol=1e-5)
        seen = sitk.ReadImage(str(tmp_path / "o.nii.gz"))
        corner = np.array(seen.TransformIndexToPhysicalPoint((5, 6, 7))) * [-1, -1, 1]
        np.testing.assert_allclose(corner, (affine @ [5, 6, 7, 1])[:3], atol=1e-4)


def test_pairs_second_version_big_endian_and_misnamed_files_are_read(tmp_path):
    numbers = NUMBERS.astype(np.int16)
    nib.save(nib.Nifti1Pair(numbers, OBLIQUE), tmp_path / "pair.img")
    nib.save(nib.Nifti2Image(numbers, OBLIQUE), tmp_path / "second.nii.gz")
    big = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(numbers.astype(">i2"), OBLIQUE, big), tmp_path / "big.nii")
    packed = gzip.compress((tmp_path / "big.nii").read_bytes())
    (tmp_path / "packed.nii").write_bytes(packed)
    (tmp_path / "plain.nii.gz").write_bytes((tmp_path / "big.nii").read_bytes())
    for name in ("pair.img", "pair.hdr", "second.nii.gz", "big.nii", "packed.nii", "plain.nii.gz"):
        got = read_volume(tmp_path / name)
        np.testing.assert_array_equal(got.array, numbers.T)
        np.testing.assert_allclose(got.geometry.affine, OBLIQUE, atol=1e-6)
    (tmp_path / "pair.hdr").unlink()
    with pytest.raises(RegRefineError, match=r"pair\.img"):
        read_volume(tmp_path / "pair.img")


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int64", "uint64", "float64"])
def test_frames_keep_their_pixel_type_and_scale(kind, tmp_path):
    numbers = (NUMBERS % 100).astype(kind)
    nib.save(nib.Nifti1Image(numbers, OBLIQUE, dtype=kind), tmp_path / "i.nii.gz")
    got = read_frames(tmp_path / "i.nii.gz").volumes[0].array
    assert got.dtype == kind
    np.testing.assert_array_equal(got, numbers.T)
    image = nib.Nifti1Image(NUMBERS / 7, OBLIQUE)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scaled.nii.gz")
    got = read_volume(tmp_path / "scaled.nii.gz").array
    np.testing.assert_allclose(got, NUMBERS.T / 7, atol=1e-3)
