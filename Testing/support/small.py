"""Small volumes with contents, made of functions whose values are known everywhere."""

from __future__ import annotations

import numpy as np

from RegRefineLib.geometry import FloatArray, Geometry, Volume

RADII = np.array([17.0, 13.0, 15.0])


def body(points: FloatArray) -> FloatArray:
    """An ellipsoid about the origin with an uneven inside, in [0, 1], of RAS mm points (..., 3)."""
    x, y, z = np.moveaxis(points, -1, 0)
    rim = 1 / (1 + np.exp(np.minimum(10 * ((points / RADII) ** 2).sum(axis=-1) - 10, 100)))
    inside = 0.55 + 0.25 * np.sin(x / 4 + 0.5) * np.cos(y / 5) + 0.2 * np.sin(z / 4 - x / 9)
    return rim * inside


def parts(points: FloatArray) -> np.ndarray:
    """Labels of the same body: 1 and 2 are its halves, 3 a ball in it."""
    inside = ((points / RADII) ** 2).sum(axis=-1) < 1
    labels = np.where(points[..., 0] < 0, 1, 2) * inside
    ball = ((points - np.array([4.0, 3, -2])) ** 2).sum(axis=-1) < 36
    return np.where(ball, 3, labels).astype(np.int16)


def bend(points: FloatArray, largest_mm: float = 3.0) -> FloatArray:
    """A smooth displacement (R, A, S) in mm, zero on the rim of the body's block."""
    x, y, z = np.moveaxis(points, -1, 0)
    hill = np.exp(-((points / 12) ** 2).sum(axis=-1))
    return (
        largest_mm
        * hill[..., None]
        * np.stack([np.cos(y / 15), 0.6 * np.sin(z / 10 + 0.5), 0.7 * np.cos(x / 12)], axis=-1)
    )


def grid(
    shape: tuple[int, int, int] = (20, 18, 22),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    direction: FloatArray | None = None,
    middle: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """A grid whose middle lies at `middle` (RAS mm)."""
    axes = np.eye(3) if direction is None else direction
    first = Geometry.from_parts(shape, spacing, axes, [0, 0, 0])
    return Geometry.from_parts(shape, spacing, axes, np.array(middle) - first.centre)


def image_on(geometry: Geometry, mapping=lambda points: points) -> Volume:
    """The body as seen at mapping(x), float32 on `geometry`."""
    return Volume(body(mapping(geometry.points())).astype(np.float32), geometry)


def labels_on(geometry: Geometry, mapping=lambda points: points) -> Volume:
    return Volume(parts(mapping(geometry.points())), geometry)


def inverse_of(mapping, points: FloatArray, steps: int = 60) -> FloatArray:
    """y with mapping(y) = points, by the fixed point."""
    found = points.copy()
    for _ in range(steps):
        found = found - (mapping(found) - points)
    return found
