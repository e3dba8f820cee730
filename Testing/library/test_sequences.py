"""Series over time: read a frame at a time, followed, closed, smoothed, written."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from support.cohort_files import GRID, QUICK, QUICK_WORDS
from support.command_line import run as command
from support.small import bend, image_on, inverse_of, labels_on

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.landmarks import write_landmarks
from RegRefineLib.io.volumes import read_labels, write_labels, write_volume
from RegRefineLib.itk_lps import to_image
from RegRefineLib.sequences.outputs import write_transform_sequence
from RegRefineLib.sequences.series import open_series
from RegRefineLib.sequences.smoothing import smooth_in_time, spread_closure
from RegRefineLib.sequences.track import Options, Tracked, track

OBLIQUE = Geometry.from_parts(
    (6, 7, 8), (1.5, 2, 3), [[0, -1, 0], [0.8, 0, -0.6], [0.6, 0, 0.8]], (5, -7, 11)
)
FRAMES = np.random.default_rng(2).normal(size=(4, *OBLIQUE.shape)).astype(np.float32)
AMPLITUDES = (0.0, 2.0, 4.0, 2.0)


def silent(_: str) -> None:
    """Say nothing."""


def write_nifti(path: Path) -> None:
    image = nibabel.Nifti1Image(np.moveaxis(FRAMES.T, -1, -1), OBLIQUE.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.5
    nibabel.save(image, path)


def write_nrrd(path: Path, *, list_first: bool, encoding: str) -> None:
    """The two layouts that Slicer has written: frames first, as a list; last, since 5.11."""
    affine = np.diag([-1, -1, 1, 1]) @ OBLIQUE.affine
    columns = [f"({','.join(map(repr, map(float, affine[:3, c])))})" for c in range(3)]
    directions = ["none", *columns] if list_first else [*columns, "none"]
    kinds = ["list", *["domain"] * 3] if list_first else [*["domain"] * 3, "list"]
    sizes = [4, *OBLIQUE.shape[::-1]] if list_first else [*OBLIQUE.shape[::-1], 4]
    axis = 0 if list_first else 3
    labels = ['"x"'] * 4
    labels[axis] = '"time"'
    header = "\n".join([
        "NRRD0005", "# a comment", "type: float", "dimension: 4",
        "space: left-posterior-superior", f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(directions)}", f"kinds: {' '.join(kinds)}",
        f"labels: {' '.join(labels)}", "endian: little", f"encoding: {encoding}",
        f"space origin: ({','.join(map(repr, map(float, affine[:3, 3])))})",
        f"axis {axis} index values:=0 0.5 1 1.5", "", "",
    ])  # fmt: skip
    array = np.moveaxis(FRAMES, 0, -1) if list_first else FRAMES
    data = np.ascontiguousarray(array).tobytes()
    path.write_bytes(header.encode() + (gzip.compress(data) if encoding == "gzip" else data))


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.seq.nrrd", "gzip.nrrd", "first.seq.nrrd", "folder"]
)
def test_every_frame_of_every_kind_of_series_is_read_in_its_place(name, tmp_path):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        for number, frame in enumerate(FRAMES):
            write_volume(Volume(frame, OBLIQUE), path / f"phase{9 + number}.nii.gz")
    elif ".nii" in name:
        write_nifti(path)
    else:
        encoding = "gzip" if "gzip" in name else "raw"
        write_nrrd(path, list_first="first" in name, encoding=encoding)
    series = open_series(path, tmp_path / "scratch")
    assert len(series) == 4
    assert series.geometry.same_grid(OBLIQUE)
    for number in (3, 0, 2):
        np.testing.assert_allclose(series.frame(number).array, FRAMES[number], atol=1e-6)
    if name == "folder":
        assert series.values[0] == "phase9"
    else:
        assert series.values == ("0", "0.5", "1", "1.5")
        assert series.index_name == "time"


def test_a_file_of_itk_s_own_is_read_as_itk_reads_it(tmp_path):
    images = [to_image(Volume(frame, OBLIQUE)) for frame in FRAMES]
    sitk.WriteImage(sitk.JoinSeries(images, 0.0, 1.0), str(tmp_path / "a.nrrd"))
    series = open_series(tmp_path / "a.nrrd", tmp_path)
    assert len(series) == 4
    assert series.geometry.same_grid(OBLIQUE)
    np.testing.assert_array_equal(series.frame(2).array, FRAMES[2])


def test_what_is_no_series_is_one_sentence(tmp_path):
    write_nifti(tmp_path / "a.nii.gz")
    data = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(data[: len(data) // 2])
    write_nrrd(tmp_path / "a.nrrd", list_first=False, encoding="raw")
    data = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "cut.nrrd").write_bytes(data[:-40])
    (tmp_path / "odd.nrrd").write_bytes(data.replace(b"encoding: raw", b"encoding: hex"))
    (tmp_path / "no.nrrd").write_bytes(b"something")
    write_volume(Volume(FRAMES[0], OBLIQUE), tmp_path / "one.nii")
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("cut.nii.gz", "damaged"), ("cut.nrrd", "damaged"), ("odd.nrrd", "header"),
        ("no.nrrd", "no NRRD"), ("one.nii", "4-D"), ("empty", "no volumes"),
        ("absent.nii", "not there"), ("a.txt", "not there"),
    ):  # fmt: skip
        with pytest.raises(RegRefineError, match=said):
            open_series(tmp_path / name, tmp_path / "scratch")


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    peaks = []
    for count in (4, 24):
        frames = np.zeros((count, 48, 48, 48), np.float32) + np.arange(count)[:, None, None, None]
        image = nibabel.Nifti1Image(frames.T, np.eye(4))
        nibabel.save(image, tmp_path / f"{count}.nii.gz")
        del image, frames
        tracemalloc.start()
        series = open_series(tmp_path / f"{count}.nii.gz", tmp_path / "scratch")
        assert [series.frame(n).array.mean() for n in range(count)] == list(range(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * 48**3 * 4


def motion() -> np.ndarray:
    """Twelve frames of a cycle of two harmonics, (12, 3, 4, 5, 3)."""
    phase = np.arange(12)[:, None, None, None, None] * 2 * np.pi / 12
    shape = np.random.default_rng(0).normal(size=(1, 3, 4, 5, 3))
    fields = shape * (np.sin(phase) + 0.3 * np.cos(2 * phase))
    return (fields - fields[:1]).astype(np.float32)


def test_slow_motion_is_kept_noise_is_taken_and_the_reference_stays_still():
    truth = motion()
    noise = 0.3 * np.random.default_rng(1).normal(size=truth.shape).astype(np.float32)
    noise[0] = 0
    found = truth + noise
    before = np.abs(found - truth).mean()
    smooth_in_time(found, 2, 0, cyclic=True)
    assert not found[0].any()
    assert np.abs(found - truth).mean() < 0.9 * before
    kept = truth.copy()
    smooth_in_time(kept, 2, 0, cyclic=True)
    np.testing.assert_allclose(kept, truth, atol=1e-5)
    straight = np.linspace(0, 1, 12)[:, None, None, None, None] * np.ones((12, 2, 2, 2, 3))
    kept = straight.astype(np.float32)
    smooth_in_time(kept, 8, 0, cyclic=False)
    np.testing.assert_allclose(kept, straight, atol=0.02)
    with pytest.raises(RegRefineError, match="1 to 5 terms"):
        smooth_in_time(found, 6, 0, cyclic=True)


def test_a_cycle_that_drifts_is_closed_by_equal_shares():
    truth = motion()
    residue = np.full(truth.shape[1:], 1.2, np.float32)
    order = [3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2]
    drifted = truth.copy()
    for place, number in enumerate(order):
        drifted[number] += residue * place / 12
    spread_closure(drifted, residue, order)
    np.testing.assert_allclose(drifted, truth, atol=1e-5)


@pytest.fixture(scope="module")
def breathing(tmp_path_factory) -> Path:
    """A cycle of four frames of a known motion, with labels and landmarks on the first."""
    folder = tmp_path_factory.mktemp("breathing")
    frames = []
    for amplitude in AMPLITUDES:
        # the reference's point x lies at x + bend(x), so the frame shows y at the inverse of y
        inverse = inverse_of(lambda p, a=amplitude: p + bend(p, a), GRID.points())
        frames.append(image_on(GRID, lambda _, places=inverse: places).array)
    image = nibabel.Nifti1Image(np.stack(frames).T, GRID.affine)
    nibabel.save(image, folder / "series.nii.gz")
    write_labels(labels_on(GRID), folder / "labels.nii.gz")
    write_landmarks(["a", "b"], [[0.0, 0, 0], [4.0, -3, 2]], folder / "points.fcsv")
    return folder


def test_a_known_motion_is_found_and_everything_is_written(breathing, tmp_path, capsys):
    words = (
        "sequence", breathing / "series.nii.gz", "-o", tmp_path / "o", *QUICK_WORDS,
        "--set", "levels=2:30 1:20",
        "--labels", breathing / "labels.nii.gz", "--landmarks", breathing / "points.fcsv",
        "--cyclic",
    )  # fmt: skip
    status, out, err = command(capsys, *words)
    assert status == 0, err
    assert "the cycle closed to" in out
    with (tmp_path / "o/paths.tsv").open() as file:
        paths = list(csv.DictReader(file, delimiter="\t"))
    assert len(paths) == 8
    point = np.array([[4.0, -3, 2]])
    wanted = point + bend(point, 4.0)
    found = np.array([float(paths[5][axis]) for axis in "xyz"])
    assert np.linalg.norm(found - wanted) < 0.6 * np.linalg.norm(wanted - point)
    with (tmp_path / "o/quality.tsv").open() as file:
        quality = list(csv.DictReader(file, delimiter="\t"))
    assert float(quality[2]["ncc"]) > float(quality[2]["ncc_before"])
    assert float(quality[0]["largest_mm"]) == 0
    warped = nibabel.load(tmp_path / "o/warped.nii")
    assert warped.shape == (*GRID.shape[::-1], 4)
    np.testing.assert_allclose(warped.affine, GRID.affine)
    first = nibabel.load(breathing / "series.nii.gz").dataobj[..., 0]
    np.testing.assert_allclose(warped.dataobj[..., 0], first, atol=1e-4)
    labels = read_labels(tmp_path / "o/labels/frame-0002.nii.gz").volume.array
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert (labels != labels_on(GRID).array).any()
    names = {p.name for p in (tmp_path / "o").iterdir()}
    assert not any(name.startswith(".scratch") for name in names)


def test_a_transform_sequence_is_one_nrrd_with_its_index(tmp_path):
    write_nrrd(tmp_path / "a.seq.nrrd", list_first=False, encoding="raw")
    series = open_series(tmp_path / "a.seq.nrrd", tmp_path)
    fields = np.random.default_rng(3).normal(size=(4, *OBLIQUE.shape, 3)).astype(np.float32)
    write_transform_sequence(Tracked(fields, {}), series, tmp_path / "t.seq.nrrd")
    text = (tmp_path / "t.seq.nrrd").read_bytes()
    header, data = text.split(b"\n\n", 1)
    assert b"axis 4 index values:=0 0.5 1 1.5" in header
    assert b"sizes: 3 8 7 6 4" in header
    array = np.frombuffer(data, "<f4").reshape(4, *OBLIQUE.shape, 3)
    np.testing.assert_array_equal(array * np.float32([-1, -1, 1]), fields)


def test_a_frame_that_is_not_there_is_refused_before_anything_runs(breathing, tmp_path, capsys):
    words = ("sequence", breathing / "series.nii.gz", "-o", tmp_path / "o", *QUICK_WORDS)
    for more in (
        ["--reference", 4],
        ["--labels", "none.nii.gz"],
        ["--smooth", 9, "--reference", 9],
    ):
        status, _, err = command(capsys, *words, *more)
        assert (status, len(err.splitlines())) == (2, 1), err


def test_frames_begin_with_their_neighbour_s_field_unless_told_otherwise(
    breathing, tmp_path, monkeypatch
):
    given: list[bool] = []

    def noted(reference, frame, job, report=None, extras=None):
        given.append(extras.initial is not None)
        from types import SimpleNamespace

        from RegRefineLib.geometry import DisplacementField

        vectors = np.zeros((*reference.geometry.shape, 3), np.float32)
        return SimpleNamespace(field=DisplacementField(vectors, reference.geometry))

    monkeypatch.setattr("RegRefineLib.sequences.track.register", noted)
    series = open_series(breathing / "series.nii.gz", tmp_path)
    track(series, QUICK, Options(reference=1), tmp_path / "a", silent)
    assert given == [False, True, False]  # 2, 3 after it; then 0
    given.clear()
    track(series, QUICK, Options(warm=False, cyclic=True), tmp_path / "b", silent)
    assert given == [False, False, False, True]  # the way back to the reference
