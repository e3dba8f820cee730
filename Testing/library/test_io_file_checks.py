from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from RegRefineLib.io.file_checks import flaw_of


@pytest.fixture(params=[".nii", ".nii.gz", "-packed.nrrd", "-packed.mha"])
def image_file(request, tmp_path):
    array = np.random.default_rng(0).normal(size=(12, 13, 14)).astype(np.float32)
    path = tmp_path / f"image{request.param}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), "packed" in request.param)
    return path


def test_whole_files_have_no_flaw(image_file):
    assert flaw_of(image_file) is None


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.dtype(">f4")])
def test_numbers_that_nifti_readers_turn_to_zero_are_counted(tmp_path, ending, kind):
    array = np.zeros((5, 4, 3), kind)
    array[1, 2, :2] = np.nan, np.inf
    order = ">" if np.dtype(kind).byteorder == ">" else "<"
    header = struct.pack(order + "i", 348) + bytes(36)
    header += struct.pack(order + "8h", 3, 3, 4, 5, 1, 1, 1, 1) + bytes(14)
    bits = np.dtype(kind).itemsize * 8
    header += struct.pack(order + "hh", 16 if bits == 32 else 64, bits) + bytes(34)
    header += struct.pack(order + "f", 352) + bytes(240)
    path = tmp_path / f"i{ending}"
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
    assert flaw_of(path) == "2 voxels are NaN or infinite"


@pytest.mark.parametrize("missing", [9, 100, 5000])
def test_files_cut_short_have_one(image_file, missing):
    image_file.write_bytes(image_file.read_bytes()[:-missing])
    assert flaw_of(image_file)


def test_damage_inside_compressed_data_is_seen(image_file):
    if image_file.name.endswith(".nii"):
        pytest.skip("plain NIfTI has no checksum")
    data = bytearray(image_file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    image_file.write_bytes(data)
    assert flaw_of(image_file)


@pytest.mark.parametrize("size", [0, 3, 200])
def test_files_without_a_nifti_header_have_one(tmp_path, size):
    path = tmp_path / "a.nii"
    path.write_bytes(b"\x01" * size)
    assert flaw_of(path) == "there is no NIfTI header"
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(b"\x01" * size)
    assert flaw_of(tmp_path / "a.nii.gz") == "there is no NIfTI header"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_nifti_versions_and_byte_orders_are_measured(tmp_path, order, version):
    header = bytearray(540 if version == 2 else 352)
    if version == 1:
        struct.pack_into(order + "i", header, 0, 348)
        struct.pack_into(order + "8h", header, 40, 3, 4, 5, 6, 1, 1, 1, 1)
        struct.pack_into(order + "h", header, 72, 16)
        struct.pack_into(order + "f", header, 108, 352.0)
    else:
        struct.pack_into(order + "i", header, 0, 540)
        struct.pack_into(order + "8q", header, 16, 3, 4, 5, 6, 1, 1, 1, 1)
        struct.pack_into(order + "h", header, 14, 16)
        struct.pack_into(order + "q", header, 168, 540)
    path = tmp_path / "a.nii"
    path.write_bytes(header + bytes(240))
    assert flaw_of(path) is None
    path.write_bytes(header + bytes(239))
    total = len(header) + 240
    assert flaw_of(path) == f"{total} bytes are announced, {total - 1} are there"


def test_a_header_of_nonsense_does_not_stop_the_check(tmp_path):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 32000, -4, 32000, 32000, 32000, 1, 1, 1)
    struct.pack_into("<h", header, 72, 64)
    struct.pack_into("<f", header, 108, float("nan"))
    (tmp_path / "a.nii").write_bytes(header)
    assert "bytes are announced" in str(flaw_of(tmp_path / "a.nii"))


def test_plain_data_named_gz_is_called_so(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"plain" * 100)
    assert "not compressed as the name" in str(flaw_of(tmp_path / "a.nii.gz"))
