"""Jacobian determinants of a mapping x + u(x), folds and the spread of local volume change.

Displacements are (3, k, j, i) in voxels, component c along array axis c. The determinant has no
unit and does not depend on the frame, so the voxel form is also the one in mm; `of_field` takes a
DisplacementField on any grid. Published values depend on the finite-difference scheme:

================ ============================================================ =================
scheme           derivative                                                   who
================ ============================================================ =================
gradient         central, one-sided on the faces (numpy.gradient)             VoxelMorph, TransMorph
central-zero     central, u = 0 outside: false folds on the faces             (convolution)
central-cropped  central, two voxels cut off each face                        Learn2Reg, Reg-TTR
central-edge     central, u outside as on the face                            NDV's voxel count
forward          u(x+1) - u(x), the grid one shorter                          plain
backward         u(x) - u(x-1), the grid one shorter                          ICON's flips
corrmlp          as CorrMLP's released NJD computes it, not a determinant     CorrMLP
================ ============================================================ =================
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry import DisplacementField, FloatArray

SCHEMES = (
    "gradient",
    "central-zero",
    "central-cropped",
    "central-edge",
    "forward",
    "backward",
    "corrmlp",
)
CROP = 2  # voxels cut off each face by central-cropped
SLAB = 16  # planes


def voxel_displacement(field: DisplacementField) -> FloatArray:
    """Return u (3, k, j, i) in voxels of the field's grid, component c along array axis c."""
    return np.moveaxis(field.to_voxels()[..., ::-1], -1, 0)


def of_field(field: DisplacementField, scheme: str = "gradient") -> FloatArray:
    """Return det(d(x + u)/dx) of a field in mm, on its grid (or the scheme's smaller one)."""
    return determinant(voxel_displacement(field), scheme)


def determinant(displacement: FloatArray, scheme: str = "gradient") -> FloatArray:
    """Return det(I + grad u) in the displacement's precision, on the grid the scheme leaves.

    Raises:
        ValueError: an unknown scheme, or a displacement of another shape than (3, k, j, i).
    """
    u = np.asarray(displacement)
    if u.ndim != 4 or u.shape[0] != 3:
        raise ValueError(f"displacement: (3, k, j, i) is needed, got {u.shape}")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: one of {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "corrmlp":
        return _corrmlp(u)
    if scheme == "gradient":
        return _in_slabs(u)
    found = _determinant(u, scheme)
    return cropped(found) if scheme == "central-cropped" else found


def cropped(determinants: FloatArray) -> FloatArray:
    """Return the determinants of a central scheme, cropped as in central-cropped."""
    inner = slice(CROP, -CROP)
    return determinants[inner, inner, inner]


def _in_slabs(u: FloatArray) -> FloatArray:
    """Return the determinants of numpy.gradient, a few planes at a time: it needs nine volumes."""
    depth = u.shape[1]
    found = np.empty(u.shape[1:], u.dtype)
    for first in range(0, depth, SLAB):
        stop = min(first + SLAB, depth)
        low, high = max(0, first - 1), min(depth, stop + 1)
        found[first:stop] = _determinant(u[:, low:high], "gradient")[first - low : stop - low]
    return found


def _determinant(u: FloatArray, scheme: str) -> FloatArray:
    rows = [[_derivative(u[c], axis, scheme) for axis in range(3)] for c in range(3)]
    for axis in range(3):
        rows[axis][axis] = rows[axis][axis] + 1
    return det3(rows)


def det3(rows: list[list[FloatArray]]) -> FloatArray:
    """Return the determinant of 3x3 matrices given as nine arrays."""
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _derivative(component: FloatArray, axis: int, scheme: str) -> FloatArray:
    if scheme in ("forward", "backward"):
        # the two other axes lose the face on the same side, so that all derivatives share a grid
        keep = slice(None, -1) if scheme == "forward" else slice(1, None)
        others = tuple(slice(None) if a == axis else keep for a in range(3))
        return np.diff(component, axis=axis)[others]
    if scheme == "gradient":
        if component.shape[axis] == 1:
            return np.zeros_like(component)  # one slice: the derivative across it is unknown
        return np.gradient(component, axis=axis)
    widths = [(1, 1) if a == axis else (0, 0) for a in range(3)]
    if scheme == "central-edge":
        padded = np.pad(component, widths, mode="edge")
    else:
        padded = np.pad(component, widths)
    n = component.shape[axis]
    return (_part(padded, axis, 2, n) - _part(padded, axis, 0, n)) / 2


def _part(array: FloatArray, axis: int, start: int, length: int) -> FloatArray:
    index = [slice(None)] * 3
    index[axis] = slice(start, start + length)
    return array[tuple(index)]


def _corrmlp(u: FloatArray) -> FloatArray:
    """Return what the released NJD computes as the determinant (inferred from its output).

    The derivatives along the first two axes are exchanged, and one factor of one product is the
    derivative of component 0 along axis 1 where that along axis 2 belongs.
    """
    rows = [[_derivative(u[c], axis, "forward") for c in range(3)] for axis in (1, 0, 2)]
    wrong = rows[0][0]
    for axis in range(3):
        rows[axis][axis] = rows[axis][axis] + 1
    return det3(rows) + rows[0][1] * rows[1][2] * (wrong - rows[2][0])


def folds(determinants: FloatArray, *, strict: bool = False) -> int:
    """Return how many determinants are <= 0 (strict: < 0, as ICON and CorrMLP count)."""
    return int(np.count_nonzero(determinants < 0 if strict else determinants <= 0))


def folds_percent(determinants: FloatArray, voxels: int | None = None) -> float:
    """Return the percentage of determinants <= 0; NaN where there are none.

    Args:
        voxels: divide by this instead of the number of determinants; Reg-TTR counts the folds of
            the cropped grid and divides by the voxels of the whole.
    """
    whole = determinants.size if voxels is None else voxels
    return 100.0 * folds(determinants) / whole if determinants.size and whole else math.nan


def sdlogj(determinants: FloatArray, shift: float = 3.0) -> float:
    """Return the standard deviation of log(clip(J + shift, 1e-9, 1e9)); NaN where J is empty.

    With shift 3 (Learn2Reg's form, which Reg-TTR and the papers after them report on the
    central-cropped scheme) folds down to J = -3 count smoothly and metrics are small; the plain
    form is shift 0. Reg-TTR clips at 1e-8 and 1e8, which no field comes near.
    """
    if not determinants.size:
        return math.nan
    shifted = np.asarray(determinants, dtype=np.float64) + shift
    return float(np.std(np.log(np.clip(shifted, 1e-9, 1e9))))
