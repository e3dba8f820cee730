"""Intensity ranges that are mapped to [0, 1], and the choice of one that suits a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .geometry import FloatArray, Volume

# CT windows in HU: the whole range that tissue spans, and Reg-TTR's for abdomens.
CT_WINDOW, CT_SOFT_WINDOW = (-1000.0, 1000.0), (-500.0, 800.0)


# HU that the darkest 1 % of a CT stay below (fat has -100, air -1000); MR is never that low
DARK_IN_CT = -200.0


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
    array = volume.array.astype(np.float32, copy=False)
    if intensity == "none":
        return Volume(array, volume.geometry)
    low, high = RANGES[intensity](array.ravel())
    array = np.clip((array - low) / max(high - low, 1e-12), 0.0, 1.0)
    return Volume(array, volume.geometry)


def has_outliers(volume: Volume) -> bool:
    """Whether 99.5 % of the voxels lie within a tenth of the range, as with a hot spot or metal.

    Voxels of the lowest value, which is the background, do not count: a small object in an empty
    volume is no outlier.
    """
    values = volume.array.ravel()
    low, high = _extremes(values)
    sample = _some(values)
    shown = sample[sample > low]
    if shown.size < 100 or not high > low:
        return False
    inner = np.percentile(shown, (0.25, 99.75))
    return bool(inner[1] - inner[0] < 0.1 * (high - low))


def choose_intensity(ranges: Sequence[str], fixed: Volume, moving: Volume) -> str:
    """Return the first of the ranges that fits both images; the last where none does.

    A CT window suits images with values far below zero, such as Hounsfield units of air and fat.
    """
    dark = (float(np.percentile(_some(v.array.ravel()), 1)) for v in (fixed, moving))
    hounsfield = max(dark) < DARK_IN_CT
    fits = (name for name in ranges if hounsfield or not name.startswith("ct"))
    return next(fits, ranges[-1])
