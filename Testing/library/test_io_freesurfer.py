"""FreeSurfer volumes, written here byte by byte from the format's description."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.analytic import centred, rotation
from support.freesurfer_files import CORONAL, mgh_bytes

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Volume
from RegRefineLib.io.freesurfer import read_mgz
from RegRefineLib.io.volumes import read_labels, read_volume, write_volume


@pytest.mark.parametrize("kind", [0, 1, 3, 4])
def test_voxels_and_their_places_are_read(tmp_path: Path, kind: int) -> None:
    array = np.arange(5 * 4 * 6).reshape(5, 4, 6)
    (tmp_path / "a.mgz").write_bytes(gzip.compress(mgh_bytes(array, kind=kind)))
    volume = read_mgz(tmp_path / "a.mgz")
    assert np.array_equal(volume.array, array)
    assert volume.array.dtype.isnative
    np.testing.assert_allclose(volume.geometry.spacing, [2, 3, 4])
    # the header's centre is the place of voxel size / 2: (i, j, k) = (3, 2, 2.5)
    np.testing.assert_allclose(volume.geometry.to_ras([3, 2, 2.5]), [10, 20, 30])
    np.testing.assert_allclose(volume.geometry.direction[:, 1], CORONAL[1])
    np.testing.assert_allclose(volume.geometry.direction[:, 2], CORONAL[2])


def test_an_uncompressed_file_without_geometry_is_coronal_at_one_millimetre(tmp_path: Path) -> None:
    (tmp_path / "a.mgh").write_bytes(mgh_bytes(np.zeros((4, 4, 4)), good=0))
    geometry = read_mgz(tmp_path / "a.mgh").geometry
    np.testing.assert_allclose(geometry.spacing, 1)
    np.testing.assert_allclose(geometry.direction[:, 2], [0, 1, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"x", "damaged"),
        (b"\x1f\x8b not gzip", "damaged"),
        (gzip.compress(mgh_bytes(np.zeros((4, 4, 4))), mtime=0)[:-30], "damaged"),
        (mgh_bytes(np.zeros((4, 4, 4)))[:-1], "damaged"),
        (mgh_bytes(np.zeros((8, 4, 4)), frames=2)[: 284 + 4 * 128], "2 frames|damaged"),
        (mgh_bytes(np.zeros((4, 4, 4)), kind=9), "damaged"),
    ],
)
def test_a_damaged_file_is_one_clear_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mgz").write_bytes(content)
    with pytest.raises(RegRefineError, match=message) as caught:
        read_mgz(tmp_path / "a.mgz")
    assert "a.mgz" in str(caught.value)


@pytest.mark.parametrize("ending", ["mgz", "mgh"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.uint16, np.float64])
def test_volumes_are_written_as_nibabel_and_we_read_them(tmp_path, ending, kind):
    grid = centred((5, 6, 7), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))
    volume = Volume(np.arange(210).reshape(grid.shape).astype(kind), grid)
    write_volume(volume, tmp_path / f"a.{ending}")
    assert np.array_equal(read_volume(tmp_path / f"a.{ending}").array, volume.array)
    got = nib.load(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(got.affine, grid.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(got.dataobj), volume.array.T)
    assert read_labels(tmp_path / f"a.{ending}").volume.array.max() == 209


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegRefineError, match=r"none\.mgz"):
        read_mgz(tmp_path / "none.mgz")
