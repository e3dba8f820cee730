from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.analytic import centred, geometries, rotation, volume_on

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import (
    LabelMap,
    read_labels,
    read_masked,
    read_volume,
    write_labels,
    write_volume,
)
from RegRefineLib.prepare import check_image

FORMATS = ["nii", "nii.gz", "nrrd", "mha"]
quick = settings(max_examples=30, deadline=None, derandomize=True)
OBLIQUE = centred((6, 7, 8), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))


def refuses(path, words, read=read_volume):
    """The error names the file, says `words`, and takes one line."""
    with pytest.raises(RegRefineError, match=words) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) or str(path.parent) in message
    assert "\n" not in message
    assert len(message) < 250 + len(str(path))


@quick
@given(geometry=geometries(extent_mm=12), ending=st.sampled_from(FORMATS))
def test_volumes_come_back_from_every_format_and_orientation(geometry, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"image.{ending}"
    volume = volume_on(geometry)
    write_volume(volume, path)
    got = read_volume(path)
    assert got.array.dtype == np.float32
    assert np.array_equal(got.array, volume.array)
    assert np.abs(got.geometry.corners() - geometry.corners()).max() < 1e-4


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64, bool])
def test_pixel_types_are_kept_in_the_file_and_float_in_memory(ending, dtype, tmp_path):
    array = (np.arange(336).reshape(6, 7, 8) % 2).astype(dtype)
    write_volume(Volume(array, OBLIQUE), tmp_path / f"i.{ending}")
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"i.{ending}")))
    assert stored.dtype == (np.uint8 if dtype is bool else dtype)
    assert np.array_equal(read_volume(tmp_path / f"i.{ending}").array, array.astype(np.float32))


@quick
@given(
    geometry=geometries(extent_mm=9),
    ending=st.sampled_from([*FORMATS, "seg.nrrd"]),
    high=st.sampled_from([1, 255, 256, 40000, 2**31 - 1]),
    seed=st.integers(0, 99),
)
def test_labels_come_back_whatever_their_size(geometry, ending, high, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"labels.{ending}"
    array = np.random.default_rng(seed).choice([0, 1, high // 2, high], geometry.shape)
    write_labels(Volume(array, geometry), path)
    got = read_labels(path)
    assert np.array_equal(got.volume.array, array)
    assert got.volume.array.dtype.itemsize <= 4
    assert np.abs(got.volume.geometry.corners() - geometry.corners()).max() < 1e-4


def test_labels_stored_as_floats_are_read_as_integers(tmp_path):
    array = np.arange(336).reshape(6, 7, 8).astype(np.float64)
    write_volume(Volume(array, OBLIQUE), tmp_path / "l.nii.gz")
    got = read_labels(tmp_path / "l.nii.gz")
    assert got.volume.array.dtype.kind in "iu"
    assert np.array_equal(got.volume.array, array)
    assert got.names == got.colours == {}


def test_labels_that_are_not_whole_are_refused(tmp_path):
    write_volume(volume_on(OBLIQUE), tmp_path / "image.nrrd")
    refuses(tmp_path / "image.nrrd", "labels must be whole numbers, found", read_labels)
    with pytest.raises(ValueError, match="integers are needed, got float32"):
        write_labels(volume_on(OBLIQUE), tmp_path / "l.nrrd")


def test_one_frame_in_four_dimensions_is_a_volume(tmp_path):
    array = np.random.default_rng(0).random((1, 4, 5, 6), np.float32)
    image = sitk.GetImageFromArray(array, isVector=False)
    for ending in FORMATS:
        sitk.WriteImage(image, str(tmp_path / f"f.{ending}"))
        assert read_volume(tmp_path / f"f.{ending}").array.shape == (4, 5, 6)


@pytest.mark.parametrize("ending", FORMATS)
def test_other_than_scalar_volumes_are_refused(ending, tmp_path):
    def write(array, vector=False):
        image = sitk.GetImageFromArray(array.astype(np.float32), isVector=vector)
        sitk.WriteImage(image, str(tmp_path / f"x.{ending}"))
        return tmp_path / f"x.{ending}"

    assert read_volume(write(np.ones((5, 6)))).array.shape == (1, 5, 6)
    assert read_volume(write(np.ones((1, 5, 6)))).array.shape == (1, 5, 6)
    refuses(write(np.ones((3, 4, 5, 6))), r"4-D image of 3 frames \(6 x 5 x 4\)")
    refuses(write(np.ones((4, 5, 6, 3)), vector=True), "3 values in each voxel")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
def test_nan_and_infinity_are_background_which_is_said(bad, ending, tmp_path):
    array = np.full((6, 7, 8), 5.0)
    array[0, 0, 0] = -3
    array[1, 2, 3:5] = bad
    write_volume(Volume(array, OBLIQUE), tmp_path / f"i.{ending}")
    with pytest.warns(RegRefineWarning, match=r"2 of 336 voxels are NaN .* background \(-3\)"):
        volume, inside = read_masked(tmp_path / f"i.{ending}")
    assert (volume.array[1, 2, 3:5] == -3).all()
    assert np.array_equal(inside.array == 0, np.isin(np.arange(336), [75, 76]).reshape(6, 7, 8))
    array[:] = bad
    write_volume(Volume(array, OBLIQUE), tmp_path / f"all.{ending}")
    refuses(tmp_path / f"all.{ending}", "every voxel is NaN or infinite")


@pytest.mark.parametrize("ending", [*FORMATS, "seg.nrrd"])
@pytest.mark.parametrize("kept", [0, 2, 0.02, 0.5, 0.97])
def test_files_cut_short_are_refused_without_noise(ending, kept, tmp_path, capfd):
    path = tmp_path / f"labels.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (16, 17, 18))
    write_labels(Volume(noise, Geometry((16, 17, 18), np.eye(4))), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    refuses(path, "empty|damaged|copy or export")
    refuses(path, "empty|damaged|copy or export", read_labels)
    assert capfd.readouterr() == ("", "")


def test_files_that_are_something_else_are_refused_without_noise(tmp_path, capfd):
    for ending in FORMATS:
        path = tmp_path / f"garbage.{ending}"
        path.write_bytes(np.random.default_rng(1).bytes(3000))
        refuses(path, "damaged")
    refuses(tmp_path / "none.nii.gz", "there is no such file")
    (tmp_path / "scan.par").write_bytes(b"x")
    refuses(tmp_path / "scan.par", r"unknown file type; .* \.nii\.gz, \.nii, .*\.nrrd")
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", "no DICOM series")
    assert capfd.readouterr() == ("", "")


def nifti_with_sform(path, rows):
    write_volume(volume_on(Geometry((5, 6, 7), np.eye(4))), path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<hh", data, 252, 0, 1)  # no qform, an sform
    struct.pack_into("<12f", data, 280, *np.ravel(rows))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]],
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        [[1, np.nan, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
    ],
    ids=["parallel", "flat", "nan"],
)
def test_nifti_axes_that_are_singular_are_refused_without_noise(rows, tmp_path, capfd):
    path = nifti_with_sform(tmp_path / "i.nii", rows)
    refuses(path, "singular, of zero length or not finite|damaged")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("directions", [b"(1,0,0) (1,0,0) (0,0,1)", b"(1,0,0) (0,0,0) (0,0,1)"])
def test_singular_nrrd_axes_are_refused(directions, tmp_path):
    path = tmp_path / "i.nrrd"
    write_volume(volume_on(Geometry((5, 6, 7), np.diag([-1.0, -1, 1, 1]))), path)
    data = path.read_bytes()
    assert b"(1,0,0) (0,1,0) (0,0,1)" in data
    path.write_bytes(data.replace(b"(1,0,0) (0,1,0) (0,0,1)", directions))
    refuses(path, "the voxel axes are singular")


@pytest.mark.filterwarnings("ignore::RegRefineLib.errors.RegRefineWarning")
def test_sheared_grids_are_kept_by_all_formats_but_freesurfers(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.4
    volume = volume_on(Geometry((5, 6, 7), affine))
    for ending in ("nrrd", "mha", "nii", "nii.gz"):
        write_volume(volume, tmp_path / f"i.{ending}")
        assert read_volume(tmp_path / f"i.{ending}").geometry.same_grid(volume.geometry)
    with pytest.raises(RegRefineError, match="sheared, which FreeSurfer"):
        write_volume(volume, tmp_path / "i.mgz")


def test_images_without_contents_are_refused_for_registration():
    grid = Geometry((5, 6, 7), np.eye(4))
    check_image(volume_on(grid), "fixed")
    with pytest.raises(RegRefineError, match="moving: every voxel is 3; an image with contents"):
        check_image(Volume(np.full((5, 6, 7), 3), grid), "moving")
    with pytest.raises(RegRefineError, match="fixed: 210 voxels are NaN"):
        check_image(Volume(np.full((5, 6, 7), np.nan), grid), "fixed")
    with pytest.raises(RegRefineError, match="fixed: a single slice of 1 x 6 x 7"):
        check_image(Volume(np.arange(42).reshape(1, 6, 7), Geometry((1, 6, 7), np.eye(4))), "fixed")


@pytest.mark.parametrize("ending", ["xyz", "nhdr", "dcm", "tfm"])
def test_unknown_endings_are_refused_before_anything_is_written(ending, tmp_path):
    with pytest.raises(RegRefineError, match="unknown file type; an image that can be written"):
        write_volume(volume_on(OBLIQUE), tmp_path / "new" / f"i.{ending}")
    assert not list(tmp_path.iterdir())


WRITE_LIMITED = """
import resource, sys
import numpy as np
from RegRefineLib.io.volumes import write_volume
from RegRefineLib.geometry import DisplacementField, Geometry, Volume
from RegRefineLib.job import RegRefineError
from RegRefineLib.io.transforms import write_field
grid = Geometry((20, 21, 22), np.eye(4))
noise = np.random.default_rng(0).normal(size=(20, 21, 22, 3))
for limit in (1000, 60000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for path in sys.argv[1:]:
        try:
            if path.endswith("tfm"):
                write_field(DisplacementField(noise, grid), path)
            else:
                write_volume(Volume(noise[..., 0], grid), path)
            print(path, "written")
        except RegRefineError as error:
            print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
def test_a_disk_that_fills_up_leaves_nothing_and_is_said(tmp_path):
    """A limit of file size fails the same system calls as a full disk does."""
    paths = [str(tmp_path / f"i.{ending}") for ending in [*FORMATS, "tfm"]]
    command = [sys.executable, "-c", WRITE_LIMITED, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert len(lines) == 2 * len(paths)
    for path, line in zip(2 * paths, lines, strict=True):
        assert line.startswith(path)
        assert "full" in line
    assert not list(tmp_path.iterdir())


def test_names_with_spaces_and_accents_work(tmp_path):
    write_volume(volume_on(OBLIQUE), tmp_path / "Gesäß links.nii.gz")
    assert read_volume(tmp_path / "Gesäß links.nii.gz").array.shape == (6, 7, 8)


def test_a_label_map_must_be_of_integers():
    with pytest.raises(ValueError, match="integers are needed, got float32"):
        LabelMap(volume_on(OBLIQUE))
