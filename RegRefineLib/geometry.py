"""Voxel grids in space: frames, units and the three value types that carry them.

Arrays are indexed (k,j,i); points, vectors and affine columns are (i,j,k) or (x,y,z) in RAS mm.
All types are frozen, with read-only arrays, and need numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import RegRefineError

FloatArray = NDArray[np.floating[Any]]


def read_only(array: ArrayLike, dtype: Any = None) -> NDArray[Any]:
    """Return a C-contiguous read-only array; a writable input is never frozen in place."""
    source = np.asarray(array)
    result = np.ascontiguousarray(source, dtype=dtype or source.dtype)
    if result is array or np.shares_memory(result, source):
        result = result.view()
    result.flags.writeable = False
    return result


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in space; its axes need not be at right angles.

    Attributes:
        shape: number of voxels (k, j, i).
        affine: 4x4, voxel index (i, j, k) -> RAS mm.

    Raises:
        ValueError: the shape is not three positive sizes, or the affine is singular or not finite.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape: three positive sizes (k,j,i) are needed, got {shape}")
        affine = read_only(np.array(self.affine, dtype=np.float64))
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"affine: a finite 4x4 matrix is needed, got {self.affine!r}")
        if not np.allclose(affine[3], [0, 0, 0, 1]):
            raise ValueError(f"affine: the last row must be 0 0 0 1, got {affine[3]}")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise ValueError("affine: the voxel axes do not span space (singular matrix)")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_parts(
        cls, shape: ArrayLike, spacing: ArrayLike, direction: ArrayLike, origin: ArrayLike
    ) -> Geometry:
        """Return the grid of `shape` (k,j,i) with `spacing` mm (i,j,k), axes `direction` (columns)
        and the first voxel's centre `origin`, both RAS."""
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(direction, dtype=float) * np.asarray(spacing, dtype=float)
        affine[:3, 3] = origin
        return cls(tuple(np.asarray(shape, dtype=int)), affine)  # type: ignore[arg-type]

    @cached_property
    def spacing(self) -> FloatArray:
        """Voxel edge lengths in mm along (i, j, k)."""
        return read_only(np.linalg.norm(self.affine[:3, :3], axis=0))

    @cached_property
    def direction(self) -> FloatArray:
        """3x3; column c is the RAS unit vector of index axis c of (i, j, k)."""
        return read_only(self.affine[:3, :3] / self.spacing)

    @property
    def origin(self) -> FloatArray:
        """RAS mm of the centre of voxel (0, 0, 0)."""
        return self.affine[:3, 3]

    @cached_property
    def inverse_affine(self) -> FloatArray:
        """4x4, RAS mm -> voxel index (i, j, k)."""
        return read_only(np.linalg.inv(self.affine))

    @property
    def voxel_count(self) -> int:
        """Number of voxels of the grid."""
        return int(np.prod(self.shape))

    @property
    def centre(self) -> FloatArray:
        """RAS mm of the centre of the grid."""
        return self.to_ras((np.array(self.shape[::-1]) - 1) / 2)

    def to_ras(self, index: ArrayLike) -> FloatArray:
        """Return RAS mm (..., 3) of voxel indices (i, j, k) of shape (..., 3)."""
        return transformed(self.affine, index)

    def to_index(self, point_ras: ArrayLike) -> FloatArray:
        """Return voxel indices (i, j, k) of shape (..., 3) of RAS mm points (..., 3)."""
        return transformed(self.inverse_affine, point_ras)

    def points(self) -> FloatArray:
        """Return the RAS mm of every voxel centre, shape (k, j, i, 3)."""
        k, j, i = (np.arange(n, dtype=np.float64) for n in self.shape)
        a = self.affine[:3]
        return (
            k[:, None, None, None] * a[:, 2]
            + j[None, :, None, None] * a[:, 1]
            + i[None, None, :, None] * a[:, 0]
            + a[:, 3]
        )

    def corners(self) -> FloatArray:
        """Return the RAS mm of the eight outer corners of the voxel block, shape (8, 3)."""
        ends = [(-0.5, n - 0.5) for n in self.shape[::-1]]
        return self.to_ras(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))

    def resized(self, shape: tuple[int, int, int]) -> Geometry:
        """Return the grid of `shape` (k,j,i) that covers the same extent."""
        factor = np.array(self.shape[::-1]) / np.array(shape[::-1])
        affine = self.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = self.to_ras((factor - 1) / 2)
        return Geometry(shape, affine)

    def with_spacing(self, shape: tuple[int, int, int], spacing: ArrayLike) -> Geometry:
        """Return the grid of `shape` (k,j,i) and `spacing` mm (i,j,k) about the same centre."""
        affine = self.affine.copy()
        affine[:3, :3] = self.direction * np.asarray(spacing, dtype=float)
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
        return Geometry(shape, affine)

    def padded(self, margin: tuple[int, int, int]) -> Geometry:
        """Return the grid grown by `margin` (k,j,i) voxels on both sides (negative: shrunk)."""
        shape = tuple(n + 2 * m for n, m in zip(self.shape, margin, strict=True))
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras(-np.array(margin[::-1], dtype=float))
        return Geometry(shape, affine)  # type: ignore[arg-type]

    def same_grid(self, other: Geometry, tolerance_voxels: float = 1e-3) -> bool:
        """Return whether all voxels of the two grids coincide."""
        if self.shape != other.shape:
            return False
        gap = np.abs(self.corners() - other.corners()).max()
        return bool(gap <= tolerance_voxels * self.spacing.min())

    def overlap(self, other: Geometry) -> float:
        """Return the fraction of this grid's voxels (a coarse sample) that lie inside `other`."""
        axes = [np.linspace(-0.5, n - 0.5, 17) for n in self.shape[::-1]]
        sample = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        index = other.to_index(self.to_ras(sample))
        inside = (index >= -0.5) & (index <= np.array(other.shape[::-1]) - 0.5)
        return float(inside.all(axis=1).mean())


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar image or label map: array (k, j, i) and the grid it lies on.

    Raises:
        ValueError: the array is not three-dimensional or does not fit the grid.
    """

    array: NDArray[Any]
    geometry: Geometry

    def __post_init__(self) -> None:
        array = read_only(self.array)
        if array.shape != self.geometry.shape:
            raise ValueError(
                f"array: shape {array.shape} does not fit the grid's {self.geometry.shape}"
            )
        object.__setattr__(self, "array", array)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Where each fixed point lies in the moving image: x -> x + u(x).

    Attributes:
        vectors: u, shape (k, j, i, 3), components (R, A, S) in mm.
        geometry: the grid of the fixed points x.
        linear: 4x4, the linear part of the mapping where it is known (RAS mm -> RAS mm).

    This is Slicer's "from parent" and ITK's resampling direction. Points outside the grid have one
    extrapolation rule: they start from the displacement of the nearest point on the grid's border,
    and from there the mapping continues with its linear part, or with the identity if that is not
    known.
    """

    vectors: FloatArray
    geometry: Geometry
    linear: FloatArray | None = None

    def __post_init__(self) -> None:
        vectors = read_only(self.vectors)
        if vectors.shape != (*self.geometry.shape, 3):
            raise ValueError(
                f"vectors: shape {vectors.shape} does not fit the grid's {self.geometry.shape}"
            )
        object.__setattr__(self, "vectors", vectors)
        if self.linear is not None:
            object.__setattr__(self, "linear", read_only(self.linear, np.float64))

    @classmethod
    def from_voxels(cls, displacement_ijk: FloatArray, geometry: Geometry) -> DisplacementField:
        """Return the field of displacements (k,j,i,3) given in voxels along (i, j, k)."""
        matrix = geometry.affine[:3, :3].astype(displacement_ijk.dtype)
        return cls(displacement_ijk @ matrix.T, geometry)

    @classmethod
    def from_affine(cls, matrix: FloatArray, geometry: Geometry) -> DisplacementField:
        """Return the field of a 4x4 that takes fixed RAS mm points to moving RAS mm points."""
        # linear in the voxel indices, so no array of points is needed, which would be large
        by_index = ((np.asarray(matrix) - np.eye(4)) @ geometry.affine)[:3]
        k, j, i = (np.arange(n)[:, None] for n in geometry.shape)
        lines = k[:, None] * by_index[:, 2] + j * by_index[:, 1] + by_index[:, 3]
        vectors = np.empty((*geometry.shape, 3), np.float32)
        np.add(lines[:, :, None], i * by_index[:, 0], out=vectors, casting="same_kind")
        return cls(vectors, geometry, np.array(matrix))

    def at(self, points_ras: ArrayLike) -> FloatArray:
        """Return u (n, 3) in mm at RAS mm points (n, 3), linearly interpolated.

        Outside the grid it is extrapolated as the class describes.
        """
        size = np.array(self.geometry.shape[::-1])
        asked = self.geometry.to_index(points_ras).reshape(-1, 3)
        index = np.clip(asked, 0, size - 1)
        low = np.minimum(index.astype(int), np.maximum(size - 2, 0))
        part = index - low
        result = np.zeros(index.shape)
        for corner in np.ndindex(2, 2, 2):
            i, j, k = np.minimum(low + corner, size - 1).T
            weight = np.where(np.array(corner) == 1, part, 1.0 - part).prod(axis=1)
            result += weight[:, None] * self.vectors[k, j, i]
        return result + self.beyond(asked - index)

    def beyond(self, steps_ijk: FloatArray) -> FloatArray:
        """Return what the linear part adds (..., 3) in mm at an offset (i,j,k) from the grid."""
        if self.linear is None:
            return np.zeros(steps_ijk.shape)
        growth = (self.linear[:3, :3] - np.eye(3)) @ self.geometry.affine[:3, :3]
        grown: FloatArray = steps_ijk @ growth.T
        return grown

    def to_voxels(self) -> FloatArray:
        """Return u (k,j,i,3) in voxels of the field's own grid along (i, j, k)."""
        matrix = self.geometry.inverse_affine[:3, :3].astype(self.vectors.dtype)
        return self.vectors @ matrix.T


def check_finite(array: NDArray[Any], name: object) -> None:
    """Raise RegRefineError, beginning with `name`, where a value is NaN or infinite."""
    if array.dtype.kind != "f":
        return
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise RegRefineError(
            f"{name}: {bad} voxels are NaN or infinite; put numbers there first (such as 0)"
        )


def sizes_text(shape: tuple[int, ...]) -> str:
    """Return sizes in readable form: 160 x 192 x 224."""
    return " x ".join(str(n) for n in shape)


def transformed(matrix: ArrayLike, points: ArrayLike) -> FloatArray:
    """Return points (..., 3) under a 4x4 affine matrix, float64."""
    affine = np.asarray(matrix, dtype=np.float64)
    result: FloatArray = np.asarray(points, dtype=np.float64) @ affine[:3, :3].T
    result += affine[:3, 3]
    return result


def narrowest_integer(largest: int, lowest: int = 0) -> type[np.integer[Any]]:
    """Return the narrowest of uint8, int16, int32, uint32, int64, uint64 for lowest..largest."""
    kinds = (np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64)
    fits = (k for k in kinds if np.iinfo(k).min <= lowest and largest <= np.iinfo(k).max)
    return next(fits, np.int64)
