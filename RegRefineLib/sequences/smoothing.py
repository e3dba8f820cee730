"""Fields over time, tied together: closure of a cycle spread, noise beyond slow motion removed.

Fourier terms in time of each voxel's displacement make motion smooth and, for a cycle, periodic
(as in "Sci Rep 2020, s41598-020-75525-4"). The fields lie on disk; some planes are held at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import dct, idct, irfft, rfft

from ..errors import RegRefineError
from ..geometry import FloatArray

_BYTES = 128 * 2**20


def spread_closure(fields: np.ndarray, residue: FloatArray, order: Sequence[int]) -> None:
    """Take a cycle's residue out of its fields, in place, a share from each in their order.

    Args:
        fields: (frames, k, j, i, 3), mm.
        residue: (k, j, i, 3), where the last step around the cycle ends instead of at 0.
        order: the frames in the order in which they were followed, the reference first.
    """
    count = len(order)
    for place, number in enumerate(order):
        fields[number] -= np.float32(place / count) * residue.astype(np.float32)


def smooth_in_time(fields: np.ndarray, terms: int, reference: int, *, cyclic: bool) -> None:
    """Keep the slow part of the fields over time, in place, and 0 at the reference.

    Args:
        fields: (frames, k, j, i, 3), mm.
        terms: harmonics of a cycle, or cosine terms of a motion that does not come back.

    Raises:
        RegRefineError: the terms are not at least 1 and fewer than the frames allow.
    """
    frames = fields.shape[0]
    most = (frames - 1) // 2 if cyclic else frames - 1
    if not 1 <= terms <= max(most, 1):
        raise RegRefineError(
            f"--smooth: 1 to {max(most, 1)} terms for {frames} frames, got {terms}"
        )
    each = fields[0, 0].nbytes * frames * 4
    step = max(1, _BYTES // each)
    for first in range(0, fields.shape[1], step):
        part = np.asarray(fields[:, first : first + step], dtype=np.float64)
        slow = _low(part, terms, cyclic=cyclic)
        fields[:, first : first + step] = (slow - slow[reference]).astype(np.float32)


def _low(values: FloatArray, terms: int, *, cyclic: bool) -> FloatArray:
    if cyclic:
        spectrum = rfft(values, axis=0)
        spectrum[terms + 1 :] = 0
        return np.asarray(irfft(spectrum, n=values.shape[0], axis=0))
    spectrum = dct(values, axis=0, norm="ortho")
    spectrum[terms + 1 :] = 0
    return np.asarray(idct(spectrum, axis=0, norm="ortho"))
