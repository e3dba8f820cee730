"""FreeSurfer volumes, written here byte by byte from the format's description."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from support.freesurfer_files import CORONAL, mgh_bytes

from RegRefineLib.errors import RegRefineError
from RegRefineLib.io.freesurfer import read_mgz


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
        (b"", "ends within the header"),
        (b"\x1f\x8b not gzip", "cannot read"),
        (gzip.compress(mgh_bytes(np.zeros((4, 4, 4))))[:-30], "cannot read"),
        (mgh_bytes(np.zeros((4, 4, 4)))[:-1], "ends before its last voxel"),
        (mgh_bytes(np.zeros((4, 4, 4)), frames=2), "2 frames"),
        (mgh_bytes(np.zeros((4, 4, 4)), kind=9), "known kind"),
    ],
)
def test_a_damaged_file_is_one_clear_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mgz").write_bytes(content)
    with pytest.raises(RegRefineError, match=message) as caught:
        read_mgz(tmp_path / "a.mgz")
    assert "a.mgz" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegRefineError, match=r"none\.mgz"):
        read_mgz(tmp_path / "none.mgz")
