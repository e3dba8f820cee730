"""Slices that each say where they lie, made one volume.

A stack that is even and straight but for rounding is taken as it is. One that is unevenly spaced
(slices of two distances, a missing one) or stacked at a slant (a CT's tilted gantry) is resampled
linearly to an even, straight grid, and that is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import FloatArray
from .notices import notice
from .paths import PathLike

_UNEVEN = 0.02  # of the distance between slices
_SAME_PLACE_MM = 1e-3
_TURNED = 1e-3  # between the direction cosines of two slices
_MOST_GROWTH = 8  # times as many slices at most


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Slices and where they are, all vectors in RAS mm.

    Attributes:
        values: (n, j, i).
        axes: (n, 2, 3), unit vectors along i (a row's pixels) and along j.
        spacing: mm between pixels along (i, j).
        corners: (n, 3), the centre of each slice's first pixel.
    """

    values: NDArray[Any]
    axes: FloatArray
    spacing: FloatArray
    corners: FloatArray


def evened(stack: SliceStack, name: PathLike) -> tuple[NDArray[Any], FloatArray]:
    """Return the values (k, j, i) on an even, straight grid, and its 4x4 to RAS mm.

    Raises:
        RegRefineError: several slices at one place, slices turned against each other.
    """
    if not np.isfinite(stack.axes).all() or not np.isfinite(stack.corners).all():
        raise RegRefineError(
            f"{name}: the slices' positions are not numbers; export the series anew"
        )
    along, across, normal = _right_angled(stack.axes[0], name)
    if np.ptp(stack.axes, axis=0).max() > _TURNED:
        raise RegRefineError(
            f"{name}: slices are turned against each other (a localizer among them?); save the "
            "slices of one direction as a series of their own"
        )
    if len(stack.values) == 1:
        return stack.values, _affine(
            (along, across, normal), (*stack.spacing, 1.0), stack.corners[0]
        )
    depths = stack.corners @ normal
    rising = depths[-1] >= depths[0]
    order = np.argsort(depths if rising else -depths, kind="stable")
    normal = normal if rising else -normal
    values, corners = stack.values[order], stack.corners[order]
    gaps = np.diff(corners @ normal)
    if gaps.min() < _SAME_PLACE_MM:
        raise RegRefineError(
            f"{name}: several images at one place (a 4-D series?); save one 3-D image of it"
        )
    steps = np.diff(corners, axis=0)
    slant = np.linalg.norm(steps - gaps[:, None] * normal, axis=1)
    if np.ptp(gaps) <= _UNEVEN * np.median(gaps) and slant.max() <= _UNEVEN * np.median(gaps):
        step = (corners[-1] - corners[0]) / (len(corners) - 1)
        axes = _nearest_straight(np.stack([along, across, step / np.linalg.norm(step)], axis=1))
        lengths = (*stack.spacing, float(np.linalg.norm(step)))
        return values, _affine(tuple(axes.T), lengths, corners[0])
    _say(name, gaps, slant)
    straight = (along, across, normal)
    return _resampled(values, corners, straight, stack.spacing)


def _say(name: PathLike, gaps: FloatArray, slant: FloatArray) -> None:
    found = []
    if np.ptp(gaps) > _UNEVEN * np.median(gaps):
        found.append(f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart (some missing?)")
    if slant.max() > _UNEVEN * np.median(gaps):
        angle = math.degrees(math.atan2(float(np.median(slant)), float(np.median(gaps))))
        found.append(f"slices are stacked at a slant of {angle:.1f} degrees (tilted gantry?)")
    notice(f"{name}: {' and '.join(found)}; resampled to an even, straight grid")


def _right_angled(axes: FloatArray, name: PathLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return unit vectors along i, along j (made perpendicular) and across the slice."""
    normal = np.cross(axes[0], axes[1])
    length = float(np.linalg.norm(normal))
    if length < 0.5 or np.linalg.norm(axes[0]) < 0.5:
        raise RegRefineError(f"{name}: the slices' directions are no directions; export them anew")
    along = axes[0] / np.linalg.norm(axes[0])
    normal = normal / length
    return along, np.cross(normal, along), normal


def _nearest_straight(axes: FloatArray) -> FloatArray:
    """Return the orthonormal 3x3 nearest to one that rounding has bent."""
    u, _, v = np.linalg.svd(axes)
    straight: FloatArray = u @ v
    return straight


def _affine(axes: Any, lengths: Any, corner: FloatArray) -> FloatArray:
    affine = np.eye(4)
    affine[:3, :3] = np.stack(axes, axis=1) * np.asarray(lengths)
    affine[:3, 3] = corner
    return affine


def _resampled(
    values: NDArray[Any], corners: FloatArray, axes: Any, spacing: FloatArray
) -> tuple[NDArray[Any], FloatArray]:
    """Return slices interpolated between each other on planes as far apart as the closest two."""
    along, across, normal = axes
    depths = (corners - corners[0]) @ normal
    gap = max(float(np.diff(depths).min()), float(depths[-1]) / (_MOST_GROWTH * len(depths)))
    count = math.floor(depths[-1] / gap + 1e-3) + 1
    shifts = np.stack([(corners - corners[0]) @ along, (corners - corners[0]) @ across], axis=1)
    shifts = np.round(shifts / spacing, 6)  # noise would put the border outside
    low = np.floor(shifts.min(axis=0) + 1e-3)
    size = values.shape[2:0:-1] + np.ceil(shifts.max(axis=0) - low - 1e-3).astype(int)
    lowest = float(values.min())
    placed = np.full((len(values), size[1], size[0]), lowest, np.float32)
    for n, (slice_, shift) in enumerate(zip(values, shifts - low, strict=True)):
        wide = np.full(placed.shape[1:], lowest, np.float32)
        wide[: slice_.shape[0], : slice_.shape[1]] = slice_
        ndimage.shift(wide, shift[::-1], output=placed[n], order=1, mode="constant", cval=lowest)
    wanted = np.arange(count) * gap
    above = np.clip(np.searchsorted(depths, wanted - 1e-6 * gap, side="right"), 1, len(depths) - 1)
    part = (wanted - depths[above - 1]) / (depths[above] - depths[above - 1])
    part = np.clip(part, 0, 1).astype(np.float32)[:, None, None]
    result = placed[above - 1] * (1 - part) + placed[above] * part
    corner = corners[0] + low[0] * spacing[0] * along + low[1] * spacing[1] * across
    return result, _affine(axes, (*spacing, gap), corner)
