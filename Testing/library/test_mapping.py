"""Chains of transforms: exact, in order, inverted, and on a grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.analytic import centred, displacement, field_on, rotation

from RegRefineLib.geometry import DisplacementField, Geometry
from RegRefineLib.mapping import (
    Chain,
    Field,
    ItkTransform,
    Linear,
    chain_of,
    fitted_linear,
    joined,
)

GRID = centred((18, 20, 22), np.array([2.0, 1.5, 3.0]), rotation(np.array([0.3, -0.2, 0.5])))
POINTS = np.random.default_rng(0).uniform(-9, 9, (40, 3))
MATRIX = np.eye(4)
MATRIX[:3, :3] = rotation(np.array([0.1, 0.2, -0.3])) @ np.diag([1.1, 0.9, 1.2])
MATRIX[:3, 3] = 4, -3, 6


def spline() -> sitk.Transform:
    block = sitk.Image([20, 20, 20], sitk.sitkUInt8)
    block.SetSpacing([5.0, 5, 5])
    block.SetOrigin([-50.0, -50, -50])
    transform = sitk.BSplineTransformInitializer(block, [4, 4, 4])
    count = len(transform.GetParameters())
    transform.SetParameters(np.random.default_rng(0).uniform(-3, 3, count).tolist())
    return transform


def parts():
    return {
        "matrix": Linear(MATRIX),
        "field": Field(field_on(GRID)),
        "spline": ItkTransform(spline()),
        "whole": Field(whole_field()),
    }


def whole_field() -> DisplacementField:
    """A matrix after a small field, as a registration's result is."""
    points = GRID.points()
    bent = points + displacement(points)
    moved = bent @ MATRIX[:3, :3].T + MATRIX[:3, 3]
    return DisplacementField((moved - points).astype(np.float32), GRID, MATRIX)


@pytest.mark.parametrize("name", list(parts()))
def test_a_way_there_and_back_ends_where_it_began(name):
    part = parts()[name]
    there = part.points(POINTS)
    assert np.abs(there - POINTS).max() > 1
    np.testing.assert_allclose(part.inverse().points(there), POINTS, atol=5e-3)
    back = Chain((part,)).inverse()
    np.testing.assert_allclose(back.inverse().points(POINTS), there)


@pytest.mark.parametrize("first", list(parts()))
@pytest.mark.parametrize("second", list(parts()))
def test_on_a_grid_a_chain_is_what_its_points_say(first, second):
    chain = joined([Chain((parts()[first],)), Chain((parts()[second].inverse(),))])
    grid = centred((5, 6, 7), np.array([2.0, 3.0, 2.5]), rotation(np.array([-0.2, 0.1, 0.4])))
    field = chain.on(grid)
    points = grid.points().reshape(-1, 3)
    expected = parts()[second].inverse().points(parts()[first].points(points))
    np.testing.assert_allclose(points + field.vectors.reshape(-1, 3), expected, atol=0.06)


def test_matrices_alone_are_one_matrix():
    chain = joined([chain_of(MATRIX), chain_of(np.linalg.inv(MATRIX)), chain_of(None)])
    np.testing.assert_allclose(chain.matrix, np.eye(4), atol=1e-12)
    assert chain_of(field_on(GRID)).matrix is None
    assert chain_of(field_on(GRID)).grid is GRID


def test_a_grid_behind_a_matrix_lies_where_points_come_from():
    chain = joined([chain_of(MATRIX), chain_of(field_on(GRID))])
    corner = chain.grid.to_ras([0, 0, 0])
    np.testing.assert_allclose(MATRIX[:3, :3] @ corner + MATRIX[:3, 3], GRID.origin)


def test_beyond_its_grid_a_field_goes_on_with_its_linear_part():
    far = np.random.default_rng(1).uniform(-200, 200, (50, 3))
    exact = DisplacementField.from_affine(MATRIX, GRID)
    np.testing.assert_allclose(
        far + exact.at(far), far @ MATRIX[:3, :3].T + MATRIX[:3, 3], atol=1e-4
    )
    border = DisplacementField(exact.vectors, GRID)
    index = np.clip(GRID.to_index(far), 0, np.array(GRID.shape[::-1]) - 1)
    np.testing.assert_allclose(border.at(far), exact.at(GRID.to_ras(index)), atol=1e-4)


def test_the_linear_part_of_a_field_can_be_fitted():
    np.testing.assert_allclose(
        fitted_linear(DisplacementField.from_affine(MATRIX, GRID)), MATRIX, atol=1e-5
    )
    flat = Geometry((1, 5, 5), np.eye(4))
    assert np.array_equal(fitted_linear(DisplacementField(np.ones((1, 5, 5, 3)), flat)), np.eye(4))
