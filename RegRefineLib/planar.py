"""Single slices, registered in their plane.

A slice is replicated into a stack, so that nothing changes across it and everything that works on
volumes can be applied. The result keeps the middle slice, and the in-plane component of every
displacement. If the two slices lie at different depths, the whole stack is shifted, and the shift
is part of the mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import RegRefineError
from .geometry import DisplacementField, FloatArray, Geometry, Volume, transformed
from .job import Extras, Job, Result

COPIES = 12
_LARGEST_ANGLE = np.cos(np.deg2rad(5.0))
_FLAT = 2  # voxels: fewer are one slice

Register = Callable[..., Result]


def is_slice(volume: Volume) -> bool:
    """Return whether a volume is one voxel thick, along one axis alone."""
    return sum(n < _FLAT for n in volume.array.shape) == 1


def register_slices(
    fixed: Volume, moving: Volume, job: Job, report: Any, extras: Extras, register: Register
) -> Result:
    """Return the result for two single slices on the fixed slice's grid.

    Args:
        register: registration.register, called on the stacks.

    Raises:
        RegRefineError: only one of the two is a slice; the planes are at an angle; as `register`.
    """
    if not (is_slice(fixed) and is_slice(moving)):
        which = "moving" if is_slice(fixed) else "fixed"
        raise RegRefineError(
            f"{which} image: a volume, and the other image is a single slice; give two slices or "
            "two volumes (the slice's place in the volume is not searched for)"
        )
    plane = _Plane.of(fixed, moving)
    to_stack = plane.offset_matrix
    found = register(
        plane.fixed_stack(fixed),
        plane.moving_stack(moving),
        job,
        report,
        _stacked_extras(extras, plane),
    )
    return _cut(found, plane, to_stack)


@dataclass(frozen=True, eq=False)
class _Plane:
    """The fixed slice's plane, and how far along its normal the moving slice lies.

    Attributes:
        normal: unit vector (R, A, S); offset: mm from the fixed to the moving slice along it.
        fixed_axis, moving_axis: the array axis that is one voxel thick.
        thickness: mm between the copies.
    """

    normal: FloatArray
    offset: float
    fixed_axis: int
    moving_axis: int
    thickness: float
    fixed: Geometry
    moving: Geometry

    @classmethod
    def of(cls, fixed: Volume, moving: Volume) -> _Plane:
        grids = fixed.geometry, moving.geometry
        axes = [int(np.argmin(grid.shape)) for grid in grids]
        normals = [_normal(grid, axis) for grid, axis in zip(grids, axes, strict=True)]
        if abs(normals[0] @ normals[1]) < _LARGEST_ANGLE:
            raise RegRefineError(
                "the two slices lie in planes at an angle; give slices that are parallel"
            )
        offset = float((grids[1].centre - grids[0].centre) @ normals[0])
        in_plane = [n for a, n in enumerate(grids[0].spacing[::-1]) if a != axes[0]]
        return cls(normals[0], offset, axes[0], axes[1], float(np.mean(in_plane)), *grids)

    @property
    def offset_matrix(self) -> FloatArray:
        """4x4: along the normal from the fixed to the moving slice."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.offset * self.normal
        return matrix

    def fixed_stack(self, volume: Volume) -> Volume:
        """Return copies of something on the fixed slice."""
        return _stack(volume, self.fixed_axis, self.normal * self.thickness)

    def moving_stack(self, volume: Volume) -> Volume:
        """Return copies of something on the moving slice, brought to the fixed one's depth."""
        place = np.linalg.inv(self.offset_matrix) @ volume.geometry.affine
        moved = Volume(volume.array, Geometry(volume.geometry.shape, place))
        return _stack(moved, self.moving_axis, self.normal * self.thickness)

    def in_plane(self, vectors: FloatArray) -> FloatArray:
        """Return the in-plane component of vectors (..., 3)."""
        normal = self.normal.astype(vectors.dtype)
        flat: FloatArray = vectors - (vectors @ normal)[..., None] * normal
        return flat


def _normal(grid: Geometry, axis: int) -> FloatArray:
    one, other = (grid.direction[:, 2 - a] for a in range(3) if a != axis)
    normal = np.cross(one, other)
    own = grid.direction[:, 2 - axis]
    normal = normal if normal @ own >= 0 else -normal
    unit: FloatArray = normal / np.linalg.norm(normal)
    return unit


def _stack(volume: Volume, axis: int, step: FloatArray) -> Volume:
    """Return `COPIES` copies along an axis, the middle one (COPIES // 2) where the slice is."""
    affine = volume.geometry.affine.copy()
    own = affine[:3, 2 - axis]
    step = step if step @ own >= 0 else -step
    affine[:3, 2 - axis] = step
    affine[:3, 3] -= step * (COPIES // 2)
    array = np.repeat(volume.array, COPIES, axis=axis)
    return Volume(array, Geometry(array.shape, affine))  # type: ignore[arg-type]


def _stacked_extras(extras: Extras, plane: _Plane) -> Extras:
    """Return the slices' labels, masks and other extras for the stacks."""

    def on(volume: Volume | None, stack: Callable[[Volume], Volume], name: str) -> Volume | None:
        if volume is None:
            return None
        if not is_slice(volume):
            raise RegRefineError(f"{name}: not a single slice, as its image is")
        return stack(volume)

    back = np.linalg.inv(plane.offset_matrix)
    initial: Any = extras.initial
    if isinstance(initial, DisplacementField):
        grid = plane.fixed_stack(
            Volume(np.zeros(plane.fixed.shape, np.uint8), plane.fixed)
        ).geometry
        points = grid.points()
        shape = (*grid.shape, 3)
        moved = initial.at(points.reshape(-1, 3)).reshape(shape)
        initial = DisplacementField(plane.in_plane(moved).astype(np.float32), grid)
    elif initial is not None:
        initial = back @ np.asarray(initial)
    marks = extras.moving_landmarks
    return Extras(
        fixed_labels=on(extras.fixed_labels, plane.fixed_stack, "fixed labels"),
        moving_labels=on(extras.moving_labels, plane.moving_stack, "moving labels"),
        fixed_mask=on(extras.fixed_mask, plane.fixed_stack, "fixed mask"),
        moving_mask=on(extras.moving_mask, plane.moving_stack, "moving mask"),
        initial=initial,
        fixed_landmarks=extras.fixed_landmarks,
        moving_landmarks=None if marks is None else transformed(back, marks),
    )


def _cut(found: Result, plane: _Plane, offset: FloatArray) -> Result:
    """Return the result of the stacks reduced to the slices."""
    shift = offset[:3, 3].astype(np.float32)

    def field(whole: DisplacementField, grid: Geometry, axis: int, sign: float) -> Any:
        middle = np.take(whole.vectors, [COPIES // 2], axis=axis)
        return DisplacementField(
            plane.in_plane(middle) + np.float32(sign) * shift, grid, linear(sign)
        )

    flat = np.eye(4)
    flat[:3, :3] = _flattened(found.affine[:3, :3], plane)
    centre = plane.fixed.centre
    moved = transformed(found.affine, centre)
    flat[:3, 3] = centre + plane.in_plane(moved - centre) - flat[:3, :3] @ centre
    affine = offset @ flat

    def linear(sign: float) -> FloatArray:
        return affine if sign > 0 else np.linalg.inv(affine)

    def image(whole: Volume | None) -> Volume | None:
        if whole is None:
            return None
        return Volume(np.take(whole.array, [COPIES // 2], axis=plane.fixed_axis), plane.fixed)

    inverse = found.inverse
    warped = image(found.warped)
    if warped is None:
        raise ValueError("found: a result without a warped image")
    return replace(
        found,
        field=field(found.field, plane.fixed, plane.fixed_axis, 1),
        affine=affine,
        warped=warped,
        warped_labels=image(found.warped_labels),
        jacobian=image(found.jacobian),
        inverse=None if inverse is None else field(inverse, plane.moving, plane.moving_axis, -1),
    )


def _flattened(linear: FloatArray, plane: _Plane) -> FloatArray:
    """Return a 3x3 restricted to the plane: it changes nothing across it."""
    across = np.outer(plane.normal, plane.normal)
    within = np.eye(3) - across
    flat: FloatArray = within @ linear @ within + across
    return flat
