"""Joint histograms and look-ups in tables; see kernels/information.py for what."""

from __future__ import annotations

import numpy as np

from .compiler import inline, loop

f4, i4, i8, at = np.float32, np.int32, np.int64, np.uintp
CHUNK = 1024  # voxels whose places stand in a buffer


@inline
def _places(fixed, moving, start, axes, place):
    """place[i] = where in the flat table the voxel start + i counts; ends take what is beyond."""
    low_f, scale_f, size_f, low_m, scale_m, size_m = axes
    top_f, top_m = f4(size_f - 1), f4(size_m - 1)
    for i in range(len(place)):
        a = (fixed[at(start + i)] - low_f) * scale_f
        b = (moving[at(start + i)] - low_m) * scale_m
        a = a if a > f4(0) else f4(0)
        b = b if b > f4(0) else f4(0)
        a = a if a < top_f else top_f
        b = b if b < top_m else top_m
        place[i] = i4(a) * i4(size_m) + i4(b)


@loop
def count(first, last, images, axes, one, tables):
    """tables[part] = how much lies on each place; a voxel of weight 1 counts `one`.

    images: fixed, moving, weights or nothing, all flat. Part n of the tables
    counts the n-th share of the voxels.
    """
    fixed, moving, weights = images
    voxels, parts = len(fixed), tables.shape[0]
    buffer = np.empty(CHUNK, i4)
    for part in range(first, last):
        table = tables[part]
        table[:] = 0
        begin, end = voxels * part // parts, voxels * (part + 1) // parts
        for start in range(begin, end, CHUNK):
            n = min(CHUNK, end - start)
            place = buffer[:n]
            _places(fixed, moving, start, axes, place)
            if len(weights):
                for i in range(n):
                    weight = np.rint(weights[at(start + i)] * f4(one))
                    table[at(place[i])] += i8(weight)
            else:
                for i in range(n):
                    table[at(place[i])] += one


@loop
def look_up(first, last, images, table, out):
    """out = slopes at each voxel's place, zero where the moving image leaves its limits.

    Chunks first..last of CHUNK voxels.
    """
    fixed, moving, weights = images
    axes, low, high, slopes = table
    buffer = np.empty(CHUNK, i4)
    for chunk in range(first, last):
        start = chunk * CHUNK
        n = min(CHUNK, len(fixed) - start)
        place = buffer[:n]
        _places(fixed, moving, start, axes, place)
        for i in range(n):
            m = moving[at(start + i)]
            out[at(start + i)] = slopes[at(place[i])] if m >= low and m <= high else f4(0)
        if len(weights):
            for i in range(n):
                out[at(start + i)] *= weights[at(start + i)]


@loop
def extent(first, last, values, weights, found):
    """found[chunk] = least and largest value where weights are above zero, NaN where one is not."""
    for chunk in range(first, last):
        start = chunk * CHUNK
        low, high, wrong = f4(np.inf), f4(-np.inf), f4(0)
        for i in range(start, min(start + CHUNK, len(values))):
            v, counts = values[at(i)], weights[at(i)] > f4(0)
            low = v if counts and v < low else low
            high = v if counts and v > high else high
            wrong += f4(0) * v if counts else f4(0)
        found[chunk, 0], found[chunk, 1] = low + wrong, high + wrong
