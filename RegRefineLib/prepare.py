"""From volumes to the pair that the other stages work on: checks, working grid, resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .errors import RegRefineError
from .geometry import (
    DisplacementField,
    FloatArray,
    Geometry,
    Volume,
    check_finite,
    sizes_text,
    transformed,
)
from .job import Extras, Job
from .ops.warp import from_millimetres
from .pair import Pair
from .resample import antialiased, coarser, covered, field_on, resample, resample_labels

# beyond this a matrix is taken for singular
LARGEST_CONDITION = 1e8
# labels up to this value are left unchanged
_LARGEST_LABEL = 4095


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
    """Return the 4x4 after checking that it is invertible.

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
    """Raise RegRefineError if the volumes, one moved by `matrix`, do not overlap in space."""
    moved = Geometry(moving.shape, np.linalg.inv(matrix) @ moving.affine)
    if fixed.overlap(moved) + moved.overlap(fixed) == 0.0:
        raise RegRefineError(
            "the two volumes do not overlap in space; if their positions cannot be trusted, "
            "start from their centres with --affine centre+affine, or give --init"
        )


def make_pair(fixed: Volume, moving: Volume, matrix: FloatArray, job: Job, extras: Extras) -> Pair:
    """Return both images on the working grid, the moving one through the linear part.

    Args:
        fixed, moving: with intensities already scaled (intensity.scaled).
        matrix: 4x4, fixed RAS mm -> moving RAS mm.
        job: resolved (presets.resolve), its device a real one.

    Raises:
        RegRefineError: an empty mask.
    """
    grid = working_grid(fixed.geometry, job.working_spacing_mm or 0.0)
    device = torch.device(job.device)

    def image(volume: Volume, mapping: FloatArray | None) -> Tensor:
        source = antialiased(volume, grid, mapping)
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
        """The moving image's field of view, None if it is all: its border is no anatomical edge."""
        inside = covered(moving.geometry, grid, matrix)
        if inside is None or not inside.array.any():
            return None
        return to_tensor(inside, device).float()

    fixed_labels, moving_labels = numbered(extras.fixed_labels, extras.moving_labels)
    return Pair(
        fixed=image(fixed, None),
        moving=image(moving, matrix),
        geometry=grid,
        fixed_mask=mask(extras.fixed_mask, None, "fixed mask"),
        moving_mask=field_of_view()
        if extras.moving_mask is None
        else mask(extras.moving_mask, matrix, "moving mask"),
        fixed_labels=labels(fixed_labels, None),
        moving_labels=labels(moving_labels, matrix),
        initial=_initial(extras.initial, grid, matrix, device),
        fixed_points=_points(extras.fixed_landmarks, grid, np.eye(4), device),
        moving_points=_points(extras.moving_landmarks, grid, matrix, device),
    )


def on_image_grids(extras: Extras, fixed: Volume, moving: Volume) -> tuple[Extras, list[str]]:
    """Return labels and masks on the grid of their image, by position, and what was resampled.

    Raises:
        RegRefineError: a mask is empty, or labels or a mask do not overlap their image.
    """
    sentences = []

    def fit(volume: Volume | None, image: Volume, name: str) -> Volume | None:
        if volume is not None and name.endswith("mask") and not volume.array.any():
            raise RegRefineError(f"{name}: the mask is empty; mark where to compare the images")
        if volume is None or volume.geometry.same_grid(image.geometry):
            return volume
        if volume.geometry.overlap(image.geometry) == 0.0:
            raise RegRefineError(f"{name}: does not overlap its image in space")
        sentences.append(f"{name}: on another grid than its image; resampled by position")
        return resample_labels(volume, image.geometry)

    fitted = replace(
        extras,
        fixed_labels=fit(extras.fixed_labels, fixed, "fixed labels"),
        moving_labels=fit(extras.moving_labels, moving, "moving labels"),
        fixed_mask=fit(extras.fixed_mask, fixed, "fixed mask"),
        moving_mask=fit(extras.moving_mask, moving, "moving mask"),
    )
    return fitted, sentences


def numbered(fixed: Volume | None, moving: Volume | None) -> tuple[Volume | None, Volume | None]:
    """Return the label maps renumbered to small values, consistently between them.

    Atlas ids such as 614454277 are too large for lookup tables and not exact in float32, so the
    pair has labels counted from 1 instead. Metrics and files keep the original ids.
    """
    maps = [volume for volume in (fixed, moving) if volume is not None]
    largest = max((int(volume.array.max(initial=0)) for volume in maps), default=0)
    if largest <= _LARGEST_LABEL:
        return fixed, moving
    known = np.unique(np.concatenate([np.unique(volume.array) for volume in maps]))
    known = np.concatenate([[0], known[known > 0]])

    def ranked(volume: Volume | None) -> Volume | None:
        if volume is None:
            return None
        place = np.minimum(np.searchsorted(known, volume.array), len(known) - 1)
        ranks = np.where(known[place] == volume.array, place, 0)  # negative values are not labels
        return Volume(ranks.astype(np.int32), volume.geometry)

    return ranked(fixed), ranked(moving)


def _points(
    marks: FloatArray | None, grid: Geometry, matrix: FloatArray, device: torch.device
) -> Tensor | None:
    """Return points (n, 3) in RAS mm, taken back through `matrix`, in voxels (k, j, i)."""
    if marks is None:
        return None
    to_voxels = grid.inverse_affine @ np.linalg.inv(matrix)
    i_j_k = transformed(to_voxels, marks)
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
    """The given field without the linear part A: A^-1(x + u(x)) - x."""
    if not isinstance(given, DisplacementField):
        return None
    points = grid.points()
    moved = points + field_on(given, grid).vectors
    inverse = np.linalg.inv(matrix)
    left = transformed(inverse, moved) - points
    return from_millimetres(DisplacementField(left.astype(np.float32), grid)).to(device)


def check_image(volume: Volume, name: str) -> None:
    """Check that a volume can be registered.

    Args:
        name: what the message calls it: an argument or a file.

    Raises:
        RegRefineError: NaN or infinity, one value throughout, a single slice.
    """
    array = volume.array
    if min(array.shape) < 2:
        raise RegRefineError(
            f"{name}: a single slice of {sizes_text(array.shape)} voxels; a volume is needed"
        )
    check_finite(array, name)
    if array.min() == array.max():
        raise RegRefineError(
            f"{name}: every voxel is {array.flat[0]:g}; an image with contents is needed"
        )
