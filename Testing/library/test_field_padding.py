"""A tapered field is the field inside, nothing on the rim, and folds nowhere between."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from RegRefineLib.field_padding import growth, needed_margin, tapered
from RegRefineLib.geometry import DisplacementField, Geometry

SPACING = (4.0, 6.0, 10.0)


def geometry(rotation=(0, 0, 0)):
    direction = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix()
    return Geometry.from_parts((5, 6, 7), SPACING, direction, (-3.0, 5.0, 70.0))


def least_determinant(field: DisplacementField) -> float:
    """The least Jacobian determinant of the trilinear mapping, at the corners of all cells."""
    u, matrix = field.vectors.astype(np.float64), field.geometry.affine[:3, :3]
    least = np.inf
    for corner in np.ndindex(2, 2, 2):
        columns = []
        for axis in (2, 1, 0):
            steps = np.diff(u, axis=axis)
            cut = [slice(c, n - 1 + c) for c, n in zip(corner, field.geometry.shape, strict=True)]
            cut[axis] = slice(None)
            columns.append(steps[tuple(cut)] + matrix[:, 2 - axis])
        i, j, k = columns
        least = min(least, (i * np.cross(j, k)).sum(axis=-1).min())
    return least / np.linalg.det(matrix)


@settings(deadline=None, max_examples=25)
@given(
    shift=st.tuples(*[st.floats(-12, 12)] * 3),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    grid=st.tuples(*[st.floats(-180, 180)] * 3),
    scale=st.floats(0.85, 1.15),
)
def test_no_folds_arise_round_a_linear_mapping(shift, angles, grid, scale):
    fixed = geometry(grid)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * scale
    matrix[:3, 3] = fixed.centre - matrix[:3, :3] @ fixed.centre + shift
    field = DisplacementField.from_affine(matrix, fixed)
    assert least_determinant(tapered(field, needed_margin(field))) > 0.05


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.floats(0.1, 30))
def test_no_folds_arise_round_a_smooth_field(seed, size):
    fixed = geometry((10, 20, 30))
    rng = np.random.default_rng(seed)
    index = np.indices(fixed.shape).transpose(1, 2, 3, 0) / np.array(fixed.shape)
    waves = np.sin(index @ rng.normal(size=(3, 3)) * 2 + rng.normal(size=3))
    reach = np.array(fixed.shape) * fixed.spacing[::-1]
    field = DisplacementField(waves * min(size, 0.05 * reach.min() * 3), fixed)
    inside = least_determinant(field)
    assume(inside > 0)
    assert least_determinant(tapered(field, needed_margin(field))) > min(0.05, 0.2 * inside)


def test_the_field_is_kept_inside_and_is_zero_on_the_rim():
    fixed = geometry((5, 6, 7))
    vectors = np.random.default_rng(0).normal(size=(*fixed.shape, 3)).astype(np.float32)
    margin = (2, 3, 4)
    grown = tapered(DisplacementField(vectors, fixed), margin)
    assert grown.vectors.dtype == np.float32
    np.testing.assert_array_equal(grown.vectors[2:-2, 3:-3, 4:-4], vectors)
    for axis in range(3):
        for end in (0, -1):
            assert not np.take(grown.vectors, end, axis=axis).any()
    np.testing.assert_allclose(grown.geometry.to_ras((4, 3, 2)), fixed.to_ras((0, 0, 0)))


def test_the_margin_grows_with_the_displacement_at_the_border_alone():
    fixed = geometry()
    vectors = np.zeros((*fixed.shape, 3), np.float32)
    vectors[2, 3, 4] = 1000.0
    assert needed_margin(DisplacementField(vectors, fixed)) == (1, 1, 1)
    margins = [
        needed_margin(DisplacementField(np.full((*fixed.shape, 3), d / np.sqrt(3)), fixed))
        for d in (16.0, 32.0)
    ]
    assert margins == [(3, 4, 6), (5, 8, 12)]
    assert growth(DisplacementField(vectors, fixed), (5, 6, 7)) == 27.0
