"""Volume maps with their sign, and fusion of atlases, against what is known to be true."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from support.cohort_files import GRID
from support.small import bend, image_on, labels_on

from RegRefineLib.cohort.fusion import METHODS, fuse
from RegRefineLib.cohort.jacobian_maps import (
    MapRow,
    blurred,
    log_jacobian,
    volumes_ml,
    without_mean,
    write_map,
    write_table,
)
from RegRefineLib.cohort.shape_update import Mapping
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField, Volume


def grown(factor: float, affine: np.ndarray) -> Mapping:
    """A map to a scan that is larger by a factor along each axis, as residual."""
    vectors = (factor - 1) * GRID.points()
    return Mapping(affine, DisplacementField(vectors.astype(np.float32), GRID))


def test_a_larger_scan_is_above_zero_and_the_affine_counts_where_asked(tmp_path):
    affine = np.diag([1.2, 1.0, 1.0, 1.0])
    mapping = grown(1.1, affine)
    relative = log_jacobian(mapping, with_affine=False)
    absolute = log_jacobian(mapping, with_affine=True)
    np.testing.assert_allclose(relative.array, 3 * np.log(1.1), atol=1e-5)
    np.testing.assert_allclose(absolute.array, 3 * np.log(1.1) + np.log(1.2), atol=1e-5)
    inside = np.ones(GRID.shape, bool)
    assert np.abs(without_mean(relative, inside).array).max() < 1e-5
    write_map(absolute, tmp_path / "map.nii.gz")
    header = nibabel.load(tmp_path / "map.nii.gz").header
    assert b"above 0 where the scan is larger" in header["descrip"].tobytes()
    path = write_table([MapRow("s0", "log_jacobian", "map.nii.gz", "a")], tmp_path)
    assert path.read_text().splitlines() == [
        "subject_label\tmap_name\teffects_map_path\tgroup\tsession",
        "s0\tlog_jacobian\tmap.nii.gz\ta\tn/a",
    ]


def test_a_local_growth_is_found_where_it_was_put_in():
    points = GRID.points()
    hill = np.exp(-((points / 8) ** 2).sum(axis=-1))[..., None]
    mapping = Mapping(np.eye(4), DisplacementField((0.1 * points * hill).astype(np.float32), GRID))
    found = log_jacobian(mapping, with_affine=False)
    peak = np.array(np.unravel_index(found.array.argmax(), GRID.shape))
    assert np.abs(GRID.to_ras(peak[::-1])).max() < 3
    assert found.array.max() == pytest.approx(3 * np.log(1.1), abs=0.06)
    assert blurred(found, 8).array.max() < found.array.max()
    assert np.array_equal(blurred(found, 0).array, found.array)


def test_volumes_are_millilitres():
    array = np.zeros(GRID.shape, np.int32)
    array[:4, :4, :4] = 614454277
    found = volumes_ml(Volume(array, GRID), {614454277: "nucleus"})
    assert found == {"nucleus": pytest.approx(64 * 2.5**3 / 1000)}


@pytest.fixture(scope="module")
def atlases():
    """A target, and atlases of it: four good ones on the left alone, three on the right."""
    generator = np.random.default_rng(4)
    truth, image = labels_on(GRID), image_on(GRID)
    left = GRID.points()[..., 0] < 0
    labels, images = [], []
    for number in range(7):
        size = (-1) ** number * 9.0 * np.where(left == (number < 4), 0.05, 1.0)[..., None]

        def moved(points, size=size):
            return points + size * bend(points, 1.0)

        noise = 0.02 * generator.normal(size=GRID.shape)
        labels.append(Volume(labels_on(GRID, moved).array, GRID))
        images.append(Volume((image_on(GRID, moved).array + noise).astype(np.float32), GRID))
    return truth, image, labels, images


def dice(found: Volume, truth: Volume) -> float:
    values = np.unique(truth.array)[1:]
    pairs = [(found.array == v, truth.array == v) for v in values]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def test_fusion_is_better_than_an_atlas_and_local_weights_than_a_vote(atlases):
    truth, image, labels, images = atlases
    single = np.mean([dice(each, truth) for each in labels])
    scores = {m: dice(fuse(labels, m, images, image).labels, truth) for m in METHODS}
    assert scores["majority"] > single
    assert scores["staple"] > single
    assert scores["local"] > scores["majority"] + 0.02
    share = fuse(labels, "local", images, image).share
    assert 0.3 < share.array.min() <= share.array.max() <= 1.0 + 1e-6
    wrong = fuse(labels, "local", images, image).labels.array != truth.array
    assert share.array[wrong].mean() < share.array[~wrong].mean()


@pytest.mark.parametrize("method", METHODS)
def test_large_ids_and_their_type_are_kept(method, atlases):
    _, image, labels, images = atlases
    large = [Volume(each.array.astype(np.int64) * 614454277, GRID) for each in labels]
    found = fuse(large, method, images, image).labels.array
    assert found.dtype == np.int64
    assert set(np.unique(found)) <= set(np.unique(large[0].array))
    small = fuse(labels, method, images, image).labels.array
    assert np.array_equal(found, small.astype(np.int64) * 614454277)


def test_ties_are_counted_and_what_cannot_be_fused_is_refused():
    one, two = (Volume(np.full(GRID.shape, value, np.uint8), GRID) for value in (3, 5))
    found = fuse([two, one], "majority")
    assert (found.labels.array == 3).all()
    assert found.ties == one.array.size
    for arguments, said in (
        (([one],), "two atlases"),
        (([one, two], "jlf"), "one of"),
        (([one, two], "local"), "local weights need"),
        (([one, Volume(two.array[1:], GRID.resized((15, 14, 18)))], "majority"), "one grid"),
    ):
        with pytest.raises(RegRefineError, match=said):
            fuse(*arguments)
