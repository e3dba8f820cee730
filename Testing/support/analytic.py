"""Functions of RAS position that tests know the value of everywhere, and grids to put them on."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st

from RegRefineLib.geometry import DisplacementField, FloatArray, Geometry, Volume

# the 48 ways to lay index axes along the axes of the body
ORIENTATIONS = [
    np.eye(3)[list(order)].T * signs
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


def intensity(points: FloatArray) -> FloatArray:
    """A smooth image without symmetry, of RAS mm points (..., 3)."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 40 + 0.5 * x - 0.3 * y + 0.8 * z + 3 * np.sin(x / 11) * np.cos(y / 13 + z / 17)


def displacement(points: FloatArray) -> FloatArray:
    """A smooth displacement (R, A, S) in mm, unlike along every axis, of RAS mm points."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack(
        [1.5 * np.sin(y / 15 + 0.4), 0.8 * np.cos(z / 14) - 0.05 * x, 2 + np.sin(x / 18)], axis=-1
    )


def volume_on(geometry: Geometry) -> Volume:
    return Volume(intensity(geometry.points()).astype(np.float32), geometry)


def field_on(geometry: Geometry) -> DisplacementField:
    return DisplacementField(displacement(geometry.points()).astype(np.float32), geometry)


def inside(geometry: Geometry, points: FloatArray, margin: float = 0.0) -> np.ndarray:
    """Which points lie among the voxel centres, `margin` voxels from the outermost ones."""
    index = geometry.to_index(points)
    last = np.array(geometry.shape[::-1]) - 1
    return ((index >= margin) & (index <= last - margin)).all(axis=-1)


def rotation(angles: FloatArray) -> FloatArray:
    """The 3x3 that turns by `angles` (radians) about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        result = turn @ result
    return result


def centred(shape: tuple[int, int, int], spacing: FloatArray, direction: FloatArray) -> Geometry:
    """The grid of those whose middle is near the origin of space."""
    grid = Geometry.from_parts(shape, spacing, direction, [0, 0, 0])
    return Geometry.from_parts(shape, spacing, direction, np.array([1.0, -2, 3]) - grid.centre)


@st.composite
def geometries(draw: st.DrawFn, extent_mm: float = 30.0, oblique: bool = True) -> Geometry:
    """Grids `extent_mm` wide: any of the 48 orientations, anisotropic, turned if `oblique`."""
    spacing = np.array(draw(st.tuples(*[st.floats(0.8, 3.0)] * 3)))
    direction = draw(st.sampled_from(ORIENTATIONS))
    if oblique:
        direction = rotation(np.array(draw(st.tuples(*[st.floats(-0.7, 0.7)] * 3)))) @ direction
    shape = tuple(int(np.ceil(extent_mm / s)) + 1 for s in spacing[::-1])
    return centred(shape, spacing, direction)  # type: ignore[arg-type]
