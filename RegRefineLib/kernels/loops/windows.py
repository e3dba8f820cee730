"""Separable symmetric windows, and similarities made of them; see loops/__init__.py for how.

All three axes are done in one pass: a plane summed along the first axis stands in a buffer with
rows of zeros about it, a row of it summed along the second in another. Seven rows are read at a
time, whatever lies beyond by pairs; neighbours outside the volume get the weight zero.

`taps` are a window's weights from the middle outwards, an even number of them, four or more.
"""

from __future__ import annotations

import numpy as np

from .compiler import inline, loop

f4, at = np.float32, np.uintp
NCC, GAUSSIAN_NCC, SSIM = 0, 1, 2


@inline
def _reach(taps, n, k, depth):
    """Return the weights of the voxels n before and after k of an axis, and how far those lie."""
    below, above = k - n >= 0, k + n < depth
    before, after = taps[n] if below else f4(0), taps[n] if above else f4(0)
    return before, after, at(n if below else 0), at(n if above else 0)


@inline
def _first_axis(xs, volume, k, shape, taps, buffer):
    """buffer, within its rows of zeros = the window along the first axis at plane k.

    xs is flat; `volume` counts the volumes of `shape` before.
    """
    depth, height, width = shape
    r, size, wide = len(taps) - 1, at(height * width), at(width)
    t0 = taps[0]
    (b1, a1, l1, h1), (b2, a2, l2, h2) = _reach(taps, 1, k, depth), _reach(taps, 2, k, depth)
    b3, a3, l3, h3 = _reach(taps, 3, k, depth)
    start = at(volume * depth + k) * size
    for j in range(height):
        o, m = at((j + r) * width), start + at(j * width)
        p1, q1, p2, q2 = m - l1 * size, m + h1 * size, m - l2 * size, m + h2 * size
        p3, q3 = m - l3 * size, m + h3 * size
        for i in range(wide):
            s = t0 * xs[m + i] + b1 * xs[p1 + i] + a1 * xs[q1 + i]
            s += b2 * xs[p2 + i] + a2 * xs[q2 + i]
            buffer[o + i] = s + b3 * xs[p3 + i] + a3 * xs[q3 + i]
    for n in range(4, r + 1, 2):
        (b1, a1, l1, h1), (b2, a2, l2, h2) = (
            _reach(taps, n, k, depth),
            _reach(taps, n + 1, k, depth),
        )
        for j in range(height):
            o, m = at((j + r) * width), start + at(j * width)
            p1, q1, p2, q2 = m - l1 * size, m + h1 * size, m - l2 * size, m + h2 * size
            for i in range(wide):
                s = b1 * xs[p1 + i] + a1 * xs[q1 + i] + b2 * xs[p2 + i] + a2 * xs[q2 + i]
                buffer[o + i] += s


@inline
def _other_axes(buffer, j, taps, row, result, target):
    """result, flat, from target on = the window over the buffer's rows about j, then along it."""
    r = len(taps) - 1
    width = len(row) - 2 * r
    wide = at(width)
    t0, t1, t2, t3 = taps[0], taps[1], taps[2], taps[3]
    m, o = at((j + r) * width), at(r)
    d1, d2, d3 = wide, at(2) * wide, at(3) * wide
    for i in range(wide):
        q = m + i
        s = t0 * buffer[q] + t1 * (buffer[q - d1] + buffer[q + d1])
        s += t2 * (buffer[q - d2] + buffer[q + d2])
        row[o + i] = s + t3 * (buffer[q - d3] + buffer[q + d3])
    for n in range(4, r + 1, 2):
        c1, c2, d1, d2 = taps[n], taps[n + 1], at(n * width), at((n + 1) * width)
        for i in range(wide):
            q = m + i
            s = c1 * (buffer[q - d1] + buffer[q + d1])
            row[o + i] += s + c2 * (buffer[q - d2] + buffer[q + d2])
    for i in range(wide):
        q = o + i
        s = t0 * row[q] + t1 * (row[q - at(1)] + row[q + at(1)])
        s += t2 * (row[q - at(2)] + row[q + at(2)])
        result[target + i] = s + t3 * (row[q - at(3)] + row[q + at(3)])
    for n in range(4, r + 1, 2):
        c1, c2, d1, d2 = taps[n], taps[n + 1], at(n), at(n + 1)
        for i in range(wide):
            q = o + i
            s = c1 * (row[q - d1] + row[q + d1])
            result[target + i] += s + c2 * (row[q - d2] + row[q + d2])


@loop
def window(first, last, x, taps, out):
    """out = the window over x (q, D, H, W), zeros outside; planes first..last of the q * D."""
    shape = (x.shape[1], x.shape[2], x.shape[3])
    depth, height, width = shape
    r = len(taps) - 1
    xs, result = x.reshape(x.size), out.reshape(out.size)
    buffer = np.zeros((height + 2 * r) * width, f4)
    row = np.zeros(width + 2 * r, f4)
    for plane in range(first, last):
        _first_axis(xs, plane // depth, plane % depth, shape, taps, buffer)
        for j in range(height):
            _other_axes(buffer, j, taps, row, result, at((plane * height + j) * width))


@inline
def _first_axis_of_products(images, k, shape, taps, buffers):
    """As `_first_axis`, of the products counted * (1, moving, fixed), into three buffers."""
    counted, moving, fixed = images
    depth, height, width = shape
    r, size, wide = len(taps) - 1, at(height * width), at(width)
    t0 = taps[0]
    b0, b1, b2 = buffers[0], buffers[1], buffers[2]
    start = at(k) * size
    w1, w2, l1, h1 = _reach(taps, 1, k, depth)
    for j in range(height):
        o, m = at((j + r) * width), start + at(j * width)
        p, q = m - l1 * size, m + h1 * size
        for i in range(wide):
            s, s1, s2 = t0 * counted[m + i], w1 * counted[p + i], w2 * counted[q + i]
            b0[o + i] = s + s1 + s2
            b1[o + i] = s * moving[m + i] + s1 * moving[p + i] + s2 * moving[q + i]
            b2[o + i] = s * fixed[m + i] + s1 * fixed[p + i] + s2 * fixed[q + i]
    for n in range(2, r + 1, 2):
        (w1, w2, l1, h1), (w3, w4, l2, h2) = (
            _reach(taps, n, k, depth),
            _reach(taps, n + 1, k, depth),
        )
        for j in range(height):
            o, m = at((j + r) * width), start + at(j * width)
            p1, q1, p2, q2 = m - l1 * size, m + h1 * size, m - l2 * size, m + h2 * size
            for i in range(wide):
                s1, s2 = w1 * counted[p1 + i], w2 * counted[q1 + i]
                s3, s4 = w3 * counted[p2 + i], w4 * counted[q2 + i]
                b0[o + i] += s1 + s2 + s3 + s4
                sum1 = s1 * moving[p1 + i] + s2 * moving[q1 + i]
                b1[o + i] += sum1 + s3 * moving[p2 + i] + s4 * moving[q2 + i]
                sum2 = s1 * fixed[p1 + i] + s2 * fixed[q1 + i]
                b2[o + i] += sum2 + s3 * fixed[p2 + i] + s4 * fixed[q2 + i]


@inline
def _ncc(sums, maps, count, eps):
    """losses/ncc.py: sums of a row to derivatives by them; the loss of each voxel."""
    (s0, s1, s2), mean_i, var_i = sums, maps[0], maps[1]
    for i in range(len(s0)):
        mean_j = s0[i] / count[i]
        cross, var_j = s2[i] - mean_i[i] * s0[i], s1[i] - mean_j * s0[i]
        slope = cross / (var_i[i] * var_j + eps)
        s2[i] = f4(-2) * slope
        s1[i] = slope * slope * var_i[i]
        s0[i] = -(mean_i[i] * s2[i] + f4(2) * mean_j * s1[i])
        count[i] = f4(1) - cross * slope


@inline
def _gaussian_ncc(sums, maps, count, eps, squared):
    """losses/lncc.py, likewise."""
    (s0, s1, s2), mean_i, square_i = sums, maps[0], maps[1]
    for i in range(len(s0)):
        share = f4(1) / count[i]
        m, q, c, mean = s0[i] * share, s1[i] * share, s2[i] * share, mean_i[i]
        var_i = max(square_i[i] - mean * mean, f4(0)) + eps
        var_j = q - m * m
        alive = f4(1) if var_j > f4(0) else f4(0)
        var_j = max(var_j, f4(0)) + eps
        by_c = f4(1) / np.sqrt(var_i * var_j)
        r = (c - mean * m) * by_c
        by_q = f4(-0.5) * alive * r / var_j
        by_m = -(mean * by_c + f4(2) * by_q * m)
        outer = (f4(-2) * r if squared else f4(-1)) * share
        count[i] = f4(1) - (r * r if squared else r)
        s0[i], s1[i], s2[i] = by_m * outer, by_q * outer, by_c * outer


@inline
def _ssim(sums, maps, count, c1, c2):
    """losses/ssim.py, likewise."""
    (s0, s1, s2), mean_i, square_i, var_i = sums, maps[0], maps[1], maps[2]
    for i in range(len(s0)):
        share = f4(1) / count[i]
        m, q, c, mean = s0[i] * share, s1[i] * share, s2[i] * share, mean_i[i]
        a1, a2 = f4(2) * mean * m + c1, f4(2) * (c - mean * m) + c2
        b1, b2 = m * m + square_i[i], q - m * m + var_i[i]
        scale = f4(1) / (b1 * b2)
        ssim = a1 * a2 * scale
        by_m = f4(-2) * scale * (m * ssim * (b1 - b2) + mean * (a2 - a1))
        s0[i], s1[i], s2[i] = by_m * share, ssim / b2 * share, f4(-2) * a1 * scale * share
        count[i] = f4(1) - ssim


@inline
def _evaluate(form, sums, maps, count):
    """Turn a row's sums into derivatives by them, and its count into the loss of each voxel."""
    kind, p1, p2 = form
    if kind == NCC:
        _ncc(sums, maps, count, p1)
    elif kind == GAUSSIAN_NCC:
        _gaussian_ncc(sums, maps, count, p1, p2)
    else:
        _ssim(sums, maps, count, p1, p2)


@inline
def _weighted(sums, weight, start, losses):
    """Weight a row of derivatives; return its weighted loss."""
    s0, s1, s2 = sums
    total = f4(0)
    if len(weight):
        for i in range(at(len(s0))):
            w = weight[start + i]
            s0[i], s1[i], s2[i] = s0[i] * w, s1[i] * w, s2[i] * w
            total += losses[i] * w
    else:
        for i in range(len(s0)):
            total += losses[i]
    return total


@loop
def derivatives(first, last, images, known, window, out):
    """by_sums (3, D, H, W) = the loss's derivatives by the sums of J, J^2, IJ; losses (D,).

    images: J where it counts in windows, J and I, flat. known: maps (q, D, H, W) of I, weights
    (D, H, W) in the mean or empty, count (D, H, W) or one number. window: taps, and the form: its
    kind and two parameters. out: by_sums and losses.
    """
    (maps, weights, count), (taps, form), (by_sums, losses) = known, window, out
    shape = (by_sums.shape[1], by_sums.shape[2], by_sums.shape[3])
    depth, height, width = shape
    r, volume = len(taps) - 1, at(depth * height * width)
    buffers = np.zeros((3, (height + 2 * r) * width), f4)
    row, here = np.zeros(width + 2 * r, f4), np.empty(width, f4)
    result, weight = by_sums.reshape(by_sums.size), weights.reshape(weights.size)
    counts = count.reshape(count.size)
    here[:] = counts[0]
    for k in range(first, last):
        losses[k] = 0.0
        _first_axis_of_products(images, k, shape, taps, buffers)
        for j in range(height):
            m = at((k * height + j) * width)
            for c in range(3):
                _other_axes(buffers[c], j, taps, row, result, at(c) * volume + m)
            for i in range(at(width)):
                here[i] = counts[m + i] if len(counts) > 1 else counts[0]
            sums = (by_sums[0, k, j], by_sums[1, k, j], by_sums[2, k, j])
            _evaluate(form, sums, maps[:, k, j], here)
            losses[k] += _weighted(sums, weight, m, here)


@loop
def gradient(first, last, by_sums, images, window, out):
    """out (D, H, W) = scale (F(b0) + 2 J F(b1) + I F(b2)), or added to it; F the window.

    window: taps, the scale, and whether out is added to.
    """
    (_, moving, fixed), (taps, scale, added) = images, window
    shape = out.shape
    height, width = shape[1], shape[2]
    r, wide = len(taps) - 1, at(width)
    flat, result = by_sums.reshape(by_sums.size), out.reshape(out.size)
    buffers = np.zeros((3, (height + 2 * r) * width), f4)
    row, sums = np.zeros(width + 2 * r, f4), np.empty(3 * width, f4)
    for k in range(first, last):
        for c in range(3):
            _first_axis(flat, c, k, shape, taps, buffers[c])
        for j in range(height):
            m = at((k * height + j) * width)
            for c in range(3):
                _other_axes(buffers[c], j, taps, row, sums, at(c * width))
            for i in range(wide):
                s = sums[i] + f4(2) * moving[m + i] * sums[i + wide]
                s = scale * (s + fixed[m + i] * sums[i + at(2) * wide])
                result[m + i] = result[m + i] + s if added else s
