from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from RegRefineLib.io.file_checks import flaw_of


@pytest.fixture(params=["-packed.nrrd", "-packed.mha"])
def image_file(request, tmp_path):
    array = np.random.default_rng(0).normal(size=(12, 13, 14)).astype(np.float32)
    path = tmp_path / f"image{request.param}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), "packed" in request.param)
    return path


def test_whole_files_have_no_flaw(image_file):
    assert flaw_of(image_file) is None


@pytest.mark.parametrize("missing", [9, 100, 5000])
def test_files_cut_short_have_one(image_file, missing):
    image_file.write_bytes(image_file.read_bytes()[:-missing])
    assert flaw_of(image_file)


def test_damage_inside_compressed_data_is_seen(image_file):
    data = bytearray(image_file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    image_file.write_bytes(data)
    assert flaw_of(image_file)
