"""Mappings of space from fixed to moving points: one transform or several in order, each exact.

A chain keeps its parts in their original form (matrices, displacement fields, ITK's B-splines) and
maps points through them one after the other, so that nothing is resampled to a grid before it has
to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike

from .geometry import DisplacementField, FloatArray, Geometry, transformed
from .itk_lps import field_from_image, flip_points, grid_of
from .resample import field_on

_MOST_STEPS = 200  # of the search for a point's preimage
_CLOSE_ENOUGH = 1e-3  # mm
_AT_ONCE = 1 << 18  # points


class Step(Protocol):
    """A mapping of points (n, 3) in RAS mm."""

    def points(self, points_ras: FloatArray) -> FloatArray:
        """Return the mapped points."""

    def inverse(self) -> Step:
        """Return the inverse mapping."""

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the mapping as a field on a grid."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A 4x4, RAS mm -> RAS mm."""

    matrix: FloatArray

    def points(self, points_ras: FloatArray) -> FloatArray:
        """Return the points (n, 3) mapped by the matrix."""
        return transformed(self.matrix, points_ras)

    def inverse(self) -> Linear:
        """Return the inverse matrix."""
        return Linear(np.linalg.inv(self.matrix))

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the matrix as a field on a grid."""
        return DisplacementField.from_affine(self.matrix, grid)


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement field, extrapolated outside its grid as DisplacementField describes."""

    field: DisplacementField

    def points(self, points_ras: FloatArray) -> FloatArray:
        """Return the points (n, 3) mapped by the field, linearly interpolated."""
        parts = np.array_split(points_ras, max(1, -(-len(points_ras) // _AT_ONCE)))
        return np.concatenate([part + self.field.at(part) for part in parts])

    def inverse(self) -> Inverted:
        """Return the inverse mapping, computed point by point."""
        return Inverted(self)

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the field on another grid."""
        return field_on(self.field, grid)


@dataclass(frozen=True, eq=False)
class ItkTransform:
    """An ITK transform that is neither a matrix nor a field, such as a B-spline."""

    transform: sitk.Transform

    def points(self, points_ras: FloatArray) -> FloatArray:
        """Return the points (n, 3) as mapped by ITK itself."""
        moved = [self.transform.TransformPoint(p) for p in flip_points(points_ras).tolist()]
        return flip_points(np.reshape(moved, (-1, 3)))

    def inverse(self) -> Inverted:
        """Return the inverse mapping, computed point by point."""
        return Inverted(self)

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the transform as a field on a grid, by ITK itself."""
        size, origin, spacing, direction = grid_of(grid)
        kind = sitk.sitkVectorFloat64
        return field_from_image(
            sitk.TransformToDisplacementField(
                self.transform, kind, size, origin, spacing, direction
            )
        )


@dataclass(frozen=True, eq=False)
class Inverted:
    """The inverse of a mapping: the x with forward(x) = y, by fixed-point iteration.

    Where the mapping folds there is no such x, or several; the result is then the closest iterate.
    """

    forward: Field | ItkTransform

    def points(self, points_ras: FloatArray) -> FloatArray:
        """Return the preimages (n, 3) of mapped points."""
        y = np.asarray(points_ras, dtype=np.float64)
        back = np.linalg.inv(self._linear[:3, :3]).T
        best = transformed(np.linalg.inv(self._linear), y)
        gap = y - self.forward.points(best)
        far, damping = np.linalg.norm(gap, axis=1), np.ones(len(y))
        for _ in range(_MOST_STEPS):
            at_work = np.flatnonzero((far > _CLOSE_ENOUGH) & (damping > 1e-3))
            if not len(at_work):
                break
            tried = best[at_work] + damping[at_work, None] * (gap[at_work] @ back)
            new_gap = y[at_work] - self.forward.points(tried)
            new_far = np.linalg.norm(new_gap, axis=1)
            better = new_far < far[at_work]
            damping[at_work] = np.where(
                better, np.minimum(damping[at_work] * 1.5, 1), 0.5 * damping[at_work]
            )
            taken = at_work[better]
            best[taken], gap[taken], far[taken] = tried[better], new_gap[better], new_far[better]
        return best

    def inverse(self) -> Field | ItkTransform:
        """Return the mapping forward."""
        return self.forward

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the inverse mapping as a field on a grid."""
        forward = self.forward
        if isinstance(forward, ItkTransform):  # one call of ITK's for each point takes too long
            around = forward.on(_doubled(grid))
            return Inverted(Field(around)).on(grid)
        points = grid.points()
        vectors = np.stack([self.points(p.reshape(-1, 3)) for p in points]).reshape(points.shape)
        linear = None if forward.field.linear is None else np.linalg.inv(forward.field.linear)
        return DisplacementField((vectors - points).astype(np.float32), grid, linear)

    @cached_property
    def _linear(self) -> FloatArray:
        """The linear part, 4x4: known, or fitted to the field."""
        if isinstance(self.forward, ItkTransform):
            return np.eye(4)
        field = self.forward.field
        return fitted_linear(field) if field.linear is None else field.linear


Part = Linear | Field | ItkTransform | Inverted


@dataclass(frozen=True, eq=False)
class Chain:
    """Transforms in the order in which they are applied to map fixed points to moving points."""

    parts: tuple[Part, ...]

    def points(self, points_ras: ArrayLike) -> FloatArray:
        """Return points (n, 3) in RAS mm mapped by all parts."""
        moved: FloatArray = np.asarray(points_ras, dtype=np.float64).reshape(-1, 3)
        for part in self.parts:
            moved = part.points(moved)
        return moved

    def inverse(self) -> Chain:
        """Return the inverse."""
        return Chain(tuple(part.inverse() for part in reversed(self.parts)))

    @property
    def matrix(self) -> FloatArray | None:
        """The 4x4 of a chain of matrices alone, else None."""
        product: FloatArray = np.eye(4)
        for part in self.parts:
            if not isinstance(part, Linear):
                return None
            product = part.matrix @ product
        return product

    @property
    def grid(self) -> Geometry | None:
        """The grid of the first field, if it is the chain's first part but for matrices."""
        before = np.eye(4)
        for part in self.parts:
            if isinstance(part, Field):
                grid = part.field.geometry
                if np.array_equal(before, np.eye(4)):
                    return grid
                return Geometry(grid.shape, np.linalg.inv(before) @ grid.affine)
            if not isinstance(part, Linear):
                return None
            before = part.matrix @ before
        return None

    def on(self, grid: Geometry) -> DisplacementField:
        """Return the whole mapping as a field on a grid."""
        if len(self.parts) == 1:
            return self.parts[0].on(grid)
        matrix = self.matrix
        if matrix is not None:
            return DisplacementField.from_affine(matrix, grid)
        points = grid.points()
        moved = points + self.parts[0].on(grid).vectors
        for part in self.parts[1:]:
            for plane in moved:
                plane[:] = part.points(plane.reshape(-1, 3)).reshape(plane.shape)
        return DisplacementField((moved - points).astype(np.float32), grid, self._linear)

    def for_resampling(self, grid: Geometry) -> DisplacementField | FloatArray:
        """Return what `resample` takes: a 4x4, the one field as it is, or a field on `grid`."""
        matrix = self.matrix
        if matrix is not None:
            return matrix
        if len(self.parts) == 1 and isinstance(self.parts[0], Field):
            return self.parts[0].field
        return self.on(grid)

    @property
    def _linear(self) -> FloatArray | None:
        """The linear part of the whole, None where that of a field in it is not known."""
        product: FloatArray = np.eye(4)
        for part in self.parts:
            if isinstance(part, Linear):
                product = part.matrix @ product
            elif isinstance(part, Field) and part.field.linear is not None:
                product = part.field.linear @ product
            elif isinstance(part, Inverted):
                own = part.forward.field.linear if isinstance(part.forward, Field) else None
                product = np.linalg.inv(own) @ product if own is not None else product
        return None if np.array_equal(product, np.eye(4)) else product


def chain_of(mapping: DisplacementField | FloatArray | None) -> Chain:
    """Return a field, a 4x4 or None (the identity) as a chain."""
    if mapping is None:
        return Chain(())
    if isinstance(mapping, DisplacementField):
        return Chain((Field(mapping),))
    return Chain((Linear(np.asarray(mapping)),))


def joined(chains: Sequence[Chain]) -> Chain:
    """Return chains one after the other as one."""
    return Chain(tuple(part for chain in chains for part in chain.parts))


def fitted_linear(field: DisplacementField) -> FloatArray:
    """Return the 4x4 that is nearest to the field's mapping, by least squares over its grid."""
    steps = tuple(slice(None, None, max(1, n // 12)) for n in field.geometry.shape)
    points = field.geometry.points()[steps].reshape(-1, 3)
    moved = points + field.vectors[steps].reshape(-1, 3)
    known = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    found, _, rank, _ = np.linalg.lstsq(known, moved, rcond=None)
    matrix = np.eye(4)
    if rank == 4:
        matrix[:3] = found.T
    if abs(np.linalg.det(matrix[:3, :3])) < 0.05:  # no start for a search
        matrix = np.eye(4)
    return matrix


def _doubled(grid: Geometry) -> Geometry:
    """Return the grid extended by half its size on each side."""
    margin: Any = tuple(max(2, n // 2) for n in grid.shape)
    return grid.padded(margin)
