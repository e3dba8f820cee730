from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from support.analytic import centred, rotation, volume_on

from RegRefineLib.errors import RegRefineError, RegRefineWarning
from RegRefineLib.geometry import Volume
from RegRefineLib.io.volumes import read_volume
from RegRefineLib.itk_lps import to_image

GRID = centred((6, 7, 8), np.array([1.0, 2, 3]), rotation(np.array([0.3, -0.2, 0.5])))


def write_series(folder, grid=GRID, uid="1", names="{:02d}.dcm", first=1):
    """A made-up MR series of whole numbers, one file per slice, written last slice first."""
    folder.mkdir(exist_ok=True)
    volume = Volume(np.round(volume_on(grid).array).astype(np.int16), grid)
    image = to_image(volume)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    for k in reversed(range(grid.shape[0])):
        piece = image[:, :, k]
        tags = {
            "0008|0060": "MR",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{uid}.{k + first}",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{uid}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|0037": "\\".join(f"{v:.9f}" for v in direction[:, :2].T.ravel()),
            "0020|0032": "\\".join(
                f"{v:.9f}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))
            ),
            "0020|0013": str(k + 1),
            "0018|0050": f"{grid.spacing[2]:.6f}",
        }
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / names.format(k)))
        writer.Execute(piece)
    return volume


def test_a_series_is_read_from_its_folder_and_from_any_of_its_files(tmp_path, capfd):
    written = write_series(tmp_path / "mr")
    write_series(tmp_path / "mr2", names="IM{:04d}")
    paths = [tmp_path / "mr", tmp_path / "mr" / "03.dcm", tmp_path / "mr2" / "IM0002"]
    for path in paths:
        got = read_volume(path)
        assert np.array_equal(got.array, written.array.astype(np.float32))
        assert np.abs(got.geometry.corners() - GRID.corners()).max() < 1e-4
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_two_series_is_refused_and_a_file_chooses(tmp_path):
    write_series(tmp_path / "mr", uid="1", names="a{:02d}.dcm")
    other = centred((3, 7, 8), np.array([1.0, 2, 3]), np.eye(3))
    write_series(tmp_path / "mr", other, uid="2", names="b{:02d}.dcm")
    with pytest.raises(RegRefineError, match="2 DICOM series in this folder; name a file of"):
        read_volume(tmp_path / "mr")
    assert read_volume(tmp_path / "mr" / "b01.dcm").array.shape == (3, 7, 8)


def test_a_missing_slice_is_filled_which_is_said_without_noise(tmp_path, capfd):
    written = write_series(tmp_path / "mr")
    (tmp_path / "mr" / "02.dcm").unlink()
    with pytest.warns(RegRefineWarning, match="slices are 3 to 6 mm apart.*resampled"):
        got = read_volume(tmp_path / "mr")
    assert got.geometry.same_grid(GRID, 1e-3)
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(got.array[kept], written.array[kept], atol=1e-3)
    between = (written.array[1].astype(float) + written.array[3]) / 2
    np.testing.assert_allclose(got.array[2], between, atol=1e-3)
    assert capfd.readouterr() == ("", "")


def test_a_tilted_gantry_is_straightened_which_is_said(tmp_path):
    affine = GRID.affine.copy()
    affine[:3, 2] += 0.5 * affine[:3, 1]
    write_series(tmp_path / "ct", type(GRID)(GRID.shape, affine))
    with pytest.warns(RegRefineWarning, match=r"stacked at a slant of 18\.4 degrees"):
        got = read_volume(tmp_path / "ct")
    straight = got.geometry.direction
    np.testing.assert_allclose(straight.T @ straight, np.eye(3), atol=1e-6)
    index = got.geometry.to_index(type(GRID)(GRID.shape, affine).points().reshape(-1, 3))
    where = index.round().astype(int)[:, ::-1]
    exact = (np.abs(index - index.round()) < 1e-3).all(axis=1)
    truth = np.round(volume_on(type(GRID)(GRID.shape, affine)).array).reshape(-1)
    assert exact.sum() > len(exact) / 3
    np.testing.assert_allclose(got.array[tuple(where[exact].T)], truth[exact], atol=1e-2)


def test_copies_and_a_localizer_of_the_series_are_left_out_which_is_said(tmp_path):
    written = write_series(tmp_path / "mr")
    write_series(tmp_path / "mr", names="copy{:02d}.dcm")
    small = centred((1, 4, 5), np.array([4.0, 4, 4]), rotation(np.array([1.5, 0.2, 0.5])))
    write_series(tmp_path / "mr", small, names="localizer{:02d}.dcm", first=50)
    said = "6 copies of slices and 1 slices of another size or direction in the series; left out"
    with pytest.warns(RegRefineWarning, match=said):
        got = read_volume(tmp_path / "mr")
    assert np.array_equal(got.array, written.array)
    assert got.geometry.same_grid(GRID, 1e-3)


def test_several_images_at_one_place_are_noticed(tmp_path):
    write_series(tmp_path / "mr")
    write_series(tmp_path / "mr", names="later{:02d}.dcm", first=100)
    with pytest.raises(RegRefineError, match="several images at one place"):
        read_volume(tmp_path / "mr")


def test_one_slice_alone_is_read_and_damaged_files_are_refused(tmp_path, capfd):
    write_series(tmp_path / "mr")
    whole = (tmp_path / "mr" / "03.dcm").read_bytes()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x.dcm").write_bytes(whole)
    assert read_volume(tmp_path / "one" / "x.dcm").array.shape == (1, 7, 8)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.dcm").write_bytes(whole[:200])
    with pytest.raises(RegRefineError, match=r"x\.dcm: damaged DICOM|has no readable slices"):
        read_volume(tmp_path / "bad" / "x.dcm")
    assert capfd.readouterr() == ("", "")


def frames_file(path, values, positions, slopes=None, orientation=(1, 0, 0, 0, 1, 0)):
    """A multi-frame file (enhanced CT) of frames (n, j, i) at LPS positions (n, 3)."""
    count, rows, columns = values.shape
    slopes = np.ones(count) if slopes is None else slopes
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    file.Modality, file.SeriesInstanceUID, file.StudyInstanceUID = "CT", "1.2.3.4", "1.2.3.5"
    file.NumberOfFrames, file.Rows, file.Columns, file.SamplesPerPixel = count, rows, columns, 1
    file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 1
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit = 15
    shared, measures, plane = (pydicom.Dataset() for _ in range(3))
    measures.PixelSpacing, measures.SliceThickness = [1.5, 2.0], 3.0
    plane.ImageOrientationPatient = list(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    file.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for position, slope in zip(positions, slopes, strict=True):
        group, place, scale = (pydicom.Dataset() for _ in range(3))
        place.ImagePositionPatient = [float(v) for v in position]
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = float(slope), 0, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [scale]
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = groups
    file.PixelData = values.astype(np.int16).tobytes()
    file.save_as(path, enforce_file_format=True)


VALUES = np.random.default_rng(0).integers(0, 900, (6, 5, 4))


def test_frames_lie_where_they_say_each_under_its_own_scale(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    places = np.array([[10, -20, 30 + 3.0 * k] for k in range(6)])
    slopes = np.linspace(0.5, 1.7, 6)
    frames_file(tmp_path / "m.dcm", VALUES[order], places[order], slopes[order])
    got = read_volume(tmp_path / "m.dcm")
    kji = (5, 0, 0) if got.geometry.affine[2, 2] > 0 else (0, 0, 0)
    np.testing.assert_allclose(got.geometry.to_ras(kji[::-1]), [-10, 20, 45])
    np.testing.assert_allclose(got.geometry.spacing, [2, 1.5, 3])
    rising = got.array if got.geometry.affine[2, 2] > 0 else got.array[::-1]
    np.testing.assert_allclose(rising, VALUES * slopes[:, None, None], rtol=1e-6)


@pytest.mark.parametrize(
    ("places", "said", "count"),
    [
        ([[0, 0, z] for z in (0, 3, 6, 12, 15, 18)], "slices are 3 to 6 mm apart", 7),
        ([[0, 0.75 * k, 3 * k] for k in range(6)], "at a slant of 14", 6),
    ],
    ids=["uneven", "tilted"],
)
def test_uneven_and_tilted_frames_are_made_even_which_is_said(tmp_path, places, said, count):
    frames_file(tmp_path / "m.dcm", VALUES, places)
    with pytest.warns(RegRefineWarning, match=said):
        got = read_volume(tmp_path / "m.dcm")
    assert got.array.shape[0] == count
    assert got.geometry.spacing[2] == pytest.approx(3)
    for value, place in zip(VALUES, np.array(places) * [-1, -1, 1], strict=True):
        index = got.geometry.to_index(place)
        if abs(index[1] - round(index[1])) < 1e-6:  # pixels on pixels
            k, j = round(index[2]), round(index[1])
            np.testing.assert_allclose(got.array[k, j : j + 5], value, atol=1e-3)


def test_each_slice_is_read_under_its_own_scale(tmp_path):
    """A PET series whose first slice has a slope of 1."""
    write_series(tmp_path / "pet")
    truth = np.zeros(GRID.shape)
    for k in range(GRID.shape[0]):
        path = tmp_path / "pet" / f"{k:02d}.dcm"
        slope = 1.0 if k == 0 else 0.037 * (k + 1)
        file = pydicom.dcmread(path)
        file.RescaleSlope, file.RescaleIntercept = f"{slope:.8g}", "0"
        truth[k] = file.pixel_array * slope
        file.save_as(path)
    got = read_volume(tmp_path / "pet").array
    np.testing.assert_allclose(got, truth, rtol=1e-5, atol=1e-4)
