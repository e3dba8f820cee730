"""Reading volumes at positions; see loops/__init__.py for how and kernels/sampling.py for what."""

from __future__ import annotations

import numpy as np

from .compiler import inline, loop

f4, i4, u4, at = np.float32, np.int32, np.uint32, np.uintp
ZEROS, BORDER, CUT = 0, 1, 2


@loop
def linear_border(first, last, image, u, out, composed):
    """out[c, x] = image[c] at x + u(x), the border going on; with `composed` plus u[c, x].

    image (C, D, H, W), u (3, d, h, w), out (C, d, h, w); planes first..last of out.
    """
    channels, depth, height, width = image.shape
    h, w = u.shape[2], u.shape[3]
    zero, mz, my, mx = f4(0), f4(depth - 1), f4(height - 1), f4(width - 1)
    tz, ty, tx = i4(max(depth - 2, 0)), i4(max(height - 2, 0)), i4(max(width - 2, 0))
    sz = at(height * width) if depth > 1 else at(0)
    sy = at(width) if height > 1 else at(0)
    sx = at(1) if width > 1 else at(0)
    plane, row = i4(height * width), i4(width)
    place, a, b, c = np.empty(w, u4), np.empty(w, f4), np.empty(w, f4), np.empty(w, f4)
    flat = image.reshape(channels, depth * height * width)
    for k in range(first, last):
        for j in range(h):
            uz, uy, ux = u[0, k, j], u[1, k, j], u[2, k, j]
            for i in range(w):
                z = min(max(f4(k) + uz[i], zero), mz)
                y = min(max(f4(j) + uy[i], zero), my)
                x = min(max(f4(i) + ux[i], zero), mx)
                z0 = min(max(i4(z), i4(0)), tz)
                y0 = min(max(i4(y), i4(0)), ty)
                x0 = min(max(i4(x), i4(0)), tx)
                a[i], b[i], c[i] = z - f4(z0), y - f4(y0), x - f4(x0)
                place[i] = u4(z0 * plane + y0 * row + x0)
            for ch in range(channels):
                p, o, s = flat[ch], out[ch, k, j], u[ch if composed else 0, k, j]
                for i in range(w):
                    q = at(place[i])
                    v00 = p[q]
                    v00 += c[i] * (p[q + sx] - v00)
                    v01 = p[q + sy]
                    v01 += c[i] * (p[q + sy + sx] - v01)
                    v10 = p[q + sz]
                    v10 += c[i] * (p[q + sz + sx] - v10)
                    v11 = p[q + sz + sy]
                    v11 += c[i] * (p[q + sz + sy + sx] - v11)
                    v00 += b[i] * (v01 - v00)
                    v10 += b[i] * (v11 - v10)
                    o[i] = v00 + a[i] * (v10 - v00)
                if composed:
                    for i in range(w):
                        o[i] += s[i]


@inline
def _nearest(position, n, padding):
    """Return the voxel nearest to a position, and 1 where there is one; halves to the even."""
    if position != position:  # not a number
        return i4(0), f4(0)
    if padding == ZEROS and n > 1:
        position = min(max(position, f4(-1)), f4(n))
    else:
        position = min(max(position, f4(0)), f4(n - 1))
    place = i4(np.rint(position))
    inside = place >= i4(0) and place <= i4(n - 1)
    return min(max(place, i4(0)), i4(n - 1)), f4(1) if inside else f4(0)


@loop
def nearest(first, last, image, u, out, where):
    """As `linear`, the value of the nearest voxel."""
    line, padding = where
    channels, depth, height, width = image.shape
    plane, row = i4(height * width), i4(width)
    place, there = np.empty(u.shape[3], u4), np.empty(u.shape[3], f4)
    flat = image.reshape(channels, depth * height * width)
    for k in range(first, last):
        for j in range(u.shape[2]):
            uz, uy, ux = u[0, k, j], u[1, k, j], u[2, k, j]
            for i in range(len(place)):
                z = line[0, 0] * (line[0, 2] * f4(k) + uz[i]) + line[0, 1]
                y = line[1, 0] * (line[1, 2] * f4(j) + uy[i]) + line[1, 1]
                x = line[2, 0] * (line[2, 2] * f4(i) + ux[i]) + line[2, 1]
                z0, z_in = _nearest(z, depth, padding)
                y0, y_in = _nearest(y, height, padding)
                x0, x_in = _nearest(x, width, padding)
                place[i] = u4(z0 * plane + y0 * row + x0)
                there[i] = z_in * y_in * x_in
                if padding == CUT:
                    away = z < f4(0) or y < f4(0) or x < f4(0)
                    away = away or z > f4(depth - 1) or y > f4(height - 1) or x > f4(width - 1)
                    there[i] = f4(0) if away else there[i]
            for ch in range(channels):
                p, o = flat[ch], out[ch, k, j]
                for i in range(len(o)):
                    o[i] = p[at(place[i])] if there[i] > f4(0) else f4(0)
