"""Roughness: against closed forms and against whole arrays of second derivatives."""

import math

import numpy as np
import pytest

from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.metrics import roughness

TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])


def field_of(vectors, spacing=(1.0, 1.0, 1.0), direction=TURN):
    grid = Geometry.from_parts(vectors.shape[:3], spacing, direction, (3, -2, 9))
    return DisplacementField(vectors, grid)


def test_two_volumes_spread_by_half_the_distance_of_their_logarithms():
    assert roughness.sd_log_jacobian(np.array([1.0, 2.0] * 5)) == pytest.approx(math.log(2) / 2)
    inside = np.array([True, False] * 5)
    assert roughness.sd_log_jacobian(np.array([1.0, 2.0] * 5), inside) == 0
    assert math.isnan(roughness.sd_log_jacobian(np.ones(3), np.zeros(3, bool)))


def test_a_fold_counts_as_a_hundredth_and_no_worse():
    folded = roughness.sd_log_jacobian(np.array([1.0, -7.0]))
    assert folded == pytest.approx(math.log(100) / 2)


def test_shares_of_voxels_beyond_a_change_of_volume():
    found = np.array([0.05, 0.2, 1.0, 4.0])
    assert roughness.below_percent(found, 0.1) == 25
    assert roughness.below_percent(found, 0.3) == 50
    assert roughness.above_percent(found, 3) == 25
    assert roughness.above_percent(found, 10) == 0


def test_a_quadratic_field_has_the_bending_energy_of_its_second_derivatives():
    spacing = (0.5, 2.0, 3.0)
    sides = [np.arange(n) * edge for n, edge in zip((40, 9, 8), spacing[::-1], strict=True)]
    z, y, x = np.meshgrid(*sides, indexing="ij")
    vectors = np.stack([0.1 * x * x, 0.05 * x * y, 0.02 * z * z + 0 * x], axis=-1)
    _, bending = roughness.gradient_and_bending(field_of(vectors, spacing))

    def share(*lost):  # of the voxels that have both neighbours along these axes
        return math.prod(1 - 2 / vectors.shape[axis] for axis in lost)

    wanted = 0.2**2 * share(2) + 0.04**2 * share(0)
    mixed = 2 * 0.05**2 * share(2)  # along the other axis one-sided differences are exact here
    assert bending == pytest.approx(wanted + mixed, rel=0.2)
    assert bending > wanted


def test_slabs_give_what_the_whole_gives(monkeypatch):
    vectors = np.random.default_rng(4).normal(size=(37, 7, 6, 3)).astype(np.float32)
    whole = []
    for slab in (16, 37, 5):
        monkeypatch.setattr(roughness, "SLAB", slab)
        whole.append(roughness.gradient_and_bending(field_of(vectors, (1, 2, 3))))
    assert whole[1] == pytest.approx(whole[0], rel=1e-5)
    assert whole[2] == pytest.approx(whole[0], rel=1e-5)
    slopes = [np.gradient(vectors[..., c], 3, 2, 1) for c in range(3)]
    assert whole[0][0] == pytest.approx(np.sqrt(np.square(slopes).sum(axis=(0, 1)).max()), rel=1e-5)


def test_an_affine_field_bends_nowhere():
    grid = Geometry.from_parts((6, 7, 8), (1, 2, 3), TURN, (0, 0, 0))
    matrix = np.diag([1.2, 0.9, 1.1, 1.0])
    gradient, bending = roughness.gradient_and_bending(DisplacementField.from_affine(matrix, grid))
    assert bending == pytest.approx(0, abs=1e-10)
    assert gradient == pytest.approx(math.sqrt(0.04 + 0.01 + 0.01), rel=1e-3)


def test_thin_grids_have_figures_too():
    gradient, bending = roughness.gradient_and_bending(field_of(np.ones((1, 2, 5, 3))))
    assert (gradient, bending) == (0, 0)


def test_the_body_is_what_is_not_empty_space_around_it_with_its_cavities():
    image = np.full((20, 24, 22), -1000.0)
    image[4:16, 4:20, 4:18] = 40
    image[7:12, 8:12, 7:15] = -800  # a lung
    image[0, 0, 0] = -1024
    body = roughness.body(image)
    assert body[8, 9, 9]
    assert body.sum() == 12 * 16 * 14
    assert roughness.body(np.zeros((3, 3, 3))).all()
