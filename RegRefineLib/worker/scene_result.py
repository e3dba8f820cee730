"""A result as a scene takes it: every array as its node holds it.

What is slow (padding, tapering, lengths, narrower label types) is done here, in the worker, so that
the program with the scene has only to copy. numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..field_padding import GridAndMatrix, everywhere
from ..field_thinning import TOLERANCE_VOXELS, thinned
from ..geometry import (
    DisplacementField,
    FloatArray,
    Volume,
    narrowest_integer,
    transformed,
)
from ..job import Result


@dataclass(frozen=True, eq=False)
class Ready:
    """A result for a scene; what was not asked for is None.

    Attributes:
        transform: fixed world point -> point in the moving node's own coordinates. Its inverse is
            not here: the scene inverts it exactly, point by point.
        affine: 4x4, fixed RAS mm -> moving RAS mm: the linear part alone.
        warped_labels: in the narrowest type; label_values are those that occur, without 0.
        displacement: how far each point of the fixed grid is moved, in mm.
        record: result.json, everything but the arrays.
    """

    transform: GridAndMatrix
    affine: FloatArray
    warped: Volume
    warped_labels: Volume | None
    label_values: tuple[int, ...]
    jacobian: Volume | None
    displacement: Volume | None
    record: dict[str, Any]


def prepared(
    result: Result,
    moving_to_world: FloatArray | None = None,
    lengths: bool = False,
    tolerance_voxels: float = TOLERANCE_VOXELS,
) -> Ready:
    """Return a result with its arrays as nodes hold them.

    Args:
        tolerance_voxels: how far the stored mapping may be off (field_thinning.py); 0: exact.
        moving_to_world: 4x4 from the moving node's own coordinates to the world; None for none.
        lengths: whether the displacement's lengths are wanted.
    """
    place = np.eye(4) if moving_to_world is None else np.asarray(moving_to_world)
    labels, values = _narrowed(result.warped_labels)
    return Ready(
        transform=forward(thinned(result.field, tolerance_voxels), result.affine, place),
        affine=np.asarray(result.affine),
        warped=result.warped,
        warped_labels=labels,
        label_values=values,
        jacobian=result.jacobian,
        displacement=_lengths(result.field) if lengths else None,
        record=result.to_json(),
    )


def forward(field: DisplacementField, linear: FloatArray, place: FloatArray) -> GridAndMatrix:
    """Return the mapping from the fixed world into the moving node's own coordinates.

    Args:
        field: fixed world point -> moving world point; linear: the 4x4 part of it.
        place: 4x4, the moving node's own coordinates -> world.
    """
    back = np.linalg.inv(place)
    if not np.array_equal(place, np.eye(4)):
        points = field.geometry.points()
        shift = transformed(back, points + field.vectors) - points
        field = DisplacementField(shift.astype(field.vectors.dtype), field.geometry)
    return everywhere(field, back @ linear)


def field_of(ready: Ready, moving_to_world: FloatArray | None = None) -> DisplacementField:
    """Return a result's whole mapping as a field on the fixed grid: world to world, in mm.

    Its error is at most the tolerance that `prepared` was given.

    Args:
        moving_to_world: the 4x4 that `prepared` was given.
    """
    from scipy import ndimage

    grid, field = ready.warped.geometry, ready.transform.grid
    to_index = field.geometry.inverse_affine @ grid.affine
    flipped = to_index[2::-1, 2::-1]  # scipy counts (k, j, i)
    shifts = [
        ndimage.affine_transform(
            np.asarray(field.vectors[..., component]),
            flipped,
            offset=to_index[2::-1, 3],
            output_shape=grid.shape,
            order=1,
            mode="nearest",
        )
        for component in range(3)
    ]
    points = grid.points()
    moved = points + np.stack(shifts, axis=-1)
    for matrix in (ready.transform.matrix, moving_to_world):
        if matrix is not None:
            moved = transformed(matrix, moved)
    return DisplacementField((moved - points).astype(np.float32), grid)


def _narrowed(labels: Volume | None) -> tuple[Volume | None, tuple[int, ...]]:
    if labels is None:
        return None, ()
    values = tuple(int(value) for value in np.unique(labels.array) if value != 0)
    array: NDArray[Any] = labels.array.astype(narrowest_integer(max(values, default=0)))
    return Volume(array, labels.geometry), values


def _lengths(field: DisplacementField) -> Volume:
    squared = np.einsum("...c,...c->...", field.vectors, field.vectors)
    return Volume(np.sqrt(squared, dtype=np.float32), field.geometry)
