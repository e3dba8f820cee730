"""From volumes to the pair that the rest works on: intensities, working grid, resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .geometry import DisplacementField, FloatArray, Geometry, Volume
from .job import Extras, Job, RegRefineError
from .pair import Pair
from .resample import antialiased, coarser, resample
from .warp import from_millimetres

# CT windows in HU: the whole range that tissue spans, and Reg-TTR's for abdomens.
CT_WINDOW, CT_SOFT_WINDOW = (-1000.0, 1000.0), (-500.0, 800.0)
# HU that the darkest hundredth of a CT is below: fat has -100, air -1000; MR does not go there
DARK_IN_CT = -200.0
# beyond this a matrix is taken for singular
LARGEST_CONDITION = 1e8


def _extremes(values: FloatArray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _some(values: FloatArray) -> FloatArray:
    """Return evenly chosen values, enough for percentiles."""
    return values[:: max(1, values.size // 1_000_000)]


def _percentiles(values: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(_some(values), (0.5, 99.5))
    return (float(low), float(high)) if high > low else _extremes(values)


def _to_99th(values: FloatArray) -> tuple[float, float]:
    """From the least value to the int(0.99 n)-th smallest: uniGradICON's range for MR."""
    k = max(int(0.99 * values.size) - 1, 0)
    low, high = float(values.min()), float(np.partition(values, k)[k])
    return (low, high) if high > low else _extremes(values)


# name -> the values that become 0 and 1; what lies beyond is clipped (job.INTENSITIES)
RANGES: dict[str, Callable[[FloatArray], tuple[float, float]]] = {
    "minmax": _extremes,
    "percentile": _percentiles,
    "mr": _to_99th,
    "ct": lambda _: CT_WINDOW,
    "ct-soft": lambda _: CT_SOFT_WINDOW,
    "none": lambda _: (0.0, 1.0),
}


def scaled(volume: Volume, intensity: str) -> Volume:
    """Return the volume (float32) with its intensity range mapped to [0, 1] and clipped there."""
    array = volume.array.astype(np.float32)
    if intensity == "none":
        return Volume(array, volume.geometry)
    low, high = RANGES[intensity](array.ravel())
    array = np.clip((array - low) / max(high - low, 1e-12), 0.0, 1.0)
    return Volume(array, volume.geometry)


def fitting(ranges: Sequence[str], fixed: Volume, moving: Volume) -> str:
    """Return the first of the ranges that fits both images; the last where none does.

    A CT window fits what goes far below zero, as Hounsfield units of air and fat do.
    """
    dark = (float(np.percentile(_some(v.array.ravel()), 1)) for v in (fixed, moving))
    hounsfield = max(dark) < DARK_IN_CT
    fits = (name for name in ranges if hounsfield or not name.startswith("ct"))
    return next(fits, ranges[-1])


def working_grid(fixed: Geometry, spacing_mm: float) -> Geometry:
    """Return the fixed grid, or where `spacing_mm` > 0 one of voxels at least that large.

    Raises:
        RegRefineError: fewer than two voxels would be left along an axis.
    """
    grid = coarser(fixed, spacing_mm) if spacing_mm > 0 else fixed
    if min(grid.shape) < 2:
        raise RegRefineError(
            f"working_spacing_mm: {spacing_mm:g} mm leaves {' x '.join(map(str, grid.shape))} "
            "voxels of the fixed image; choose a smaller one"
        )
    return grid


def check_matrix(matrix: ArrayLike) -> FloatArray:
    """Return the 4x4, checked to be one that can be inverted.

    Raises:
        RegRefineError: another shape, not finite, or singular.
    """
    checked = np.asarray(matrix, dtype=np.float64)
    if checked.shape != (4, 4) or not np.isfinite(checked).all():
        raise RegRefineError("initial transform: a finite 4x4 matrix or a field is needed")
    if np.linalg.cond(checked[:3, :3]) > LARGEST_CONDITION:
        raise RegRefineError(
            "initial transform: the matrix is singular (it flattens space); use one that can be "
            "inverted"
        )
    return checked


def check_overlap(fixed: Geometry, moving: Geometry, matrix: FloatArray) -> None:
    """Raise RegRefineError where the volumes, one moved by `matrix`, do not meet in space."""
    moved = Geometry(moving.shape, np.linalg.inv(matrix) @ moving.affine)
    if fixed.overlap(moved) + moved.overlap(fixed) == 0.0:
        raise RegRefineError(
            "the two volumes do not overlap in space; if their positions cannot be trusted, "
            "start from their centres with --affine centre+affine, or give --init"
        )


def make_pair(fixed: Volume, moving: Volume, matrix: FloatArray, job: Job, extras: Extras) -> Pair:
    """Return both images on the working grid, the moving one seen through the linear part.

    Args:
        matrix: 4x4, fixed RAS mm -> moving RAS mm.
        job: resolved (presets.resolve), its device a real one.

    Raises:
        RegRefineError: an empty mask.
    """
    grid = working_grid(fixed.geometry, job.working_spacing_mm or 0.0)
    device = torch.device(job.device)
    intensity = job.intensity or "minmax"

    def image(volume: Volume, mapping: FloatArray | None) -> Tensor:
        source = antialiased(scaled(volume, intensity), grid, mapping)
        return to_tensor(resample(source, grid, mapping), device)

    def labels(volume: Volume | None, mapping: FloatArray | None) -> Tensor | None:
        if volume is None:
            return None
        return to_tensor(resample(volume, grid, mapping, "nearest"), device)

    def mask(volume: Volume | None, mapping: FloatArray | None, name: str) -> Tensor | None:
        if volume is None:
            return None
        inside = Volume((volume.array != 0).astype(np.uint8), volume.geometry)
        tensor = labels(inside, mapping)
        if tensor is None or not bool(tensor.any()):
            raise RegRefineError(f"{name}: the mask is empty where the images are compared")
        return tensor.float()

    def field_of_view() -> Tensor | None:
        """Where the moving image lies, None if everywhere: its rim is no edge of the anatomy."""
        whole = Volume(np.broadcast_to(np.uint8(1), moving.array.shape), moving.geometry)
        tensor = labels(whole, matrix)
        if tensor is None or bool(tensor.all()) or not bool(tensor.any()):
            return None
        return tensor.float()

    return Pair(
        fixed=image(fixed, None),
        moving=image(moving, matrix),
        geometry=grid,
        fixed_mask=mask(extras.fixed_mask, None, "fixed mask"),
        moving_mask=field_of_view()
        if extras.moving_mask is None
        else mask(extras.moving_mask, matrix, "moving mask"),
        fixed_labels=labels(extras.fixed_labels, None),
        moving_labels=labels(extras.moving_labels, matrix),
        initial=_initial(extras.initial, grid, matrix, device),
        fixed_points=_points(extras.fixed_landmarks, grid, np.eye(4), device),
        moving_points=_points(extras.moving_landmarks, grid, matrix, device),
    )


def _points(
    marks: FloatArray | None, grid: Geometry, matrix: FloatArray, device: torch.device
) -> Tensor | None:
    """Return points (n, 3) in RAS mm, seen through the linear part, in voxels (k, j, i)."""
    if marks is None:
        return None
    to_voxels = grid.inverse_affine @ np.linalg.inv(matrix)
    i_j_k = np.asarray(marks) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    return torch.from_numpy(i_j_k[:, ::-1].astype(np.float32)).to(device)


def to_tensor(volume: Volume, device: torch.device) -> Tensor:
    """Return the array as (1, 1, D, H, W); integers that torch lacks become int32."""
    array = volume.array
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int32)
    return torch.from_numpy(np.array(array))[None, None].to(device)


def _initial(
    given: DisplacementField | FloatArray | None,
    grid: Geometry,
    matrix: FloatArray,
    device: torch.device,
) -> Tensor | None:
    """The given field as what is left of it after the linear part: A^-1(x + u(x)) - x."""
    if not isinstance(given, DisplacementField):
        return None
    points = grid.points()
    moved = points + field_at(given, grid)
    inverse = np.linalg.inv(matrix)
    left = moved @ inverse[:3, :3].T + inverse[:3, 3] - points
    return from_millimetres(DisplacementField(left.astype(np.float32), grid)).to(device)


def field_at(field: DisplacementField, grid: Geometry) -> FloatArray:
    """Return the field's vectors (k,j,i,3) in mm at the voxels of `grid`, linearly."""
    if field.geometry.same_grid(grid):
        return field.vectors
    parts = [resample(Volume(field.vectors[..., c], field.geometry), grid).array for c in range(3)]
    return np.stack(parts, axis=-1)
