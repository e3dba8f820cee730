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
def _axis(u, axis, line, place, shares, slopes):
    """Add where a row's positions lie on an axis of n voxels to `place`; fill shares and slopes.

    A voxel's share is that of a hat of one voxel to each side, so that it fades outside the volume;
    where the border goes on (`padding` other than ZEROS) there are no positions beyond, and nothing
    changes with them. `axis`: the
    row's first voxel x, the next being x + step; n; the axis's stride in the
    flat volume; the padding.
    """
    x, step, n, stride, padding = axis
    scale, shift, relative = line[0], line[1], line[2]
    least, most = (f4(-2), f4(n + 1)) if padding == ZEROS else (f4(0), f4(n - 1))
    last = f4(n - 2)
    low, high, by_low, by_high = shares[0], shares[1], slopes[0], slopes[1]
    if n == 1:  # an axis of one voxel has no positions
        low[:], high[:], by_low[:], by_high[:] = f4(1), f4(0), f4(0), f4(0)
        return
    for i in range(len(u)):
        wish = scale * (relative * (f4(x) + f4(step) * f4(i)) + u[i]) + shift
        position = min(max(wish, least), most) if wish == wish else least
        first = min(max(np.floor(position), f4(0)), last)
        t = position - first
        place[i] += u4(i4(first)) * stride
        low[i] = max(f4(1) - abs(t), f4(0)) + f4(0) * wish
        high[i] = max(f4(1) - abs(t - f4(1)), f4(0))
    if len(by_low) == 0:
        return
    for i in range(len(u)):
        wish = scale * (relative * (f4(x) + f4(step) * f4(i)) + u[i]) + shift
        position = min(max(wish, least), most) if wish == wish else least
        t = position - min(max(np.floor(position), f4(0)), last)
        moves = scale if padding == ZEROS or (wish > least and wish < most) else f4(0)
        by_low[i] = -moves if t >= f4(0) else moves
        by_low[i] = by_low[i] if t >= f4(-1) and t < f4(1) else f4(0)
        by_high[i] = moves if t < f4(1) else -moves
        by_high[i] = by_high[i] if t >= f4(0) and t < f4(2) else f4(0)


@inline
def _leave_out(u, row, line, size, low, high):
    """Take all shares from positions outside the block of voxel centres; row: k and j."""
    k, j = row
    for i in range(len(low)):
        z = line[0, 0] * (line[0, 2] * f4(k) + u[0, k, j, i]) + line[0, 1]
        y = line[1, 0] * (line[1, 2] * f4(j) + u[1, k, j, i]) + line[1, 1]
        x = line[2, 0] * (line[2, 2] * f4(i) + u[2, k, j, i]) + line[2, 1]
        inside = z >= f4(0) and y >= f4(0) and x >= f4(0)
        inside = inside and z <= f4(size[0] - 1) and y <= f4(size[1] - 1) and x <= f4(size[2] - 1)
        low[i] = low[i] if inside else f4(0)
        high[i] = high[i] if inside else f4(0)


@inline
def _row(u, row, where, place, shares, slopes):
    """Fill the flat places (w,) of a row's lower corners, and (axis, low/high, w) of them.

    row: k and j. where: the line, the padding, and the size of the volume that is read.
    """
    (k, j), (line, padding, size) = row, where
    place[:] = u4(0)
    begin, step = (k, j, 0), (0, 0, 1)
    stride = (u4(size[1] * size[2]), u4(size[2]), u4(1))
    for a in range(3):  # a loop, lest its contents are compiled three times
        axis = (begin[a], step[a], size[a], stride[a], padding)
        _axis(u[a, k, j], axis, line[a], place, shares[a], slopes[a])
    if padding == CUT:
        _leave_out(u, row, line, size, shares[0, 0], shares[0, 1])
        if slopes.shape[2]:
            _leave_out(u, row, line, size, slopes[0, 0], slopes[0, 1])


@loop
def linear(first, last, image, u, out, where):
    """out[c, x] = image[c] at line[a, 0] * (line[a, 2] x + u(x)) + line[a, 1], per axis a.

    where: the line and the padding.
    """
    line, padding = where
    channels, depth, height, width = image.shape
    sz = at(height * width) if depth > 1 else at(0)
    sy = at(width) if height > 1 else at(0)
    sx = at(1) if width > 1 else at(0)
    size, place = (depth, height, width), np.empty(u.shape[3], u4)
    shares, slopes = np.empty((3, 2, u.shape[3]), f4), np.empty((3, 2, 0), f4)
    flat = image.reshape(channels, depth * height * width)
    for k in range(first, last):
        for j in range(u.shape[2]):
            _row(u, (k, j), (line, padding, size), place, shares, slopes)
            z0, z1, y0, y1 = shares[0, 0], shares[0, 1], shares[1, 0], shares[1, 1]
            x0, x1 = shares[2, 0], shares[2, 1]
            for ch in range(channels):
                p, o = flat[ch], out[ch, k, j]
                for i in range(len(o)):
                    q = at(place[i])
                    v00 = x0[i] * p[q] + x1[i] * p[q + sx]
                    v01 = x0[i] * p[q + sy] + x1[i] * p[q + sy + sx]
                    v10 = x0[i] * p[q + sz] + x1[i] * p[q + sz + sx]
                    v11 = x0[i] * p[q + sz + sy] + x1[i] * p[q + sz + sy + sx]
                    o[i] = z0[i] * (y0[i] * v00 + y1[i] * v01) + z1[i] * (y0[i] * v10 + y1[i] * v11)


@loop
def linear_slope(first, last, images, u, out, where):
    """The derivative of sum(back * linear(...)) by u, (3, d, h, w); images: image and back."""
    (image, back), (line, padding) = images, where
    channels, depth, height, width = image.shape
    sz = at(height * width) if depth > 1 else at(0)
    sy = at(width) if height > 1 else at(0)
    sx = at(1) if width > 1 else at(0)
    size, place = (depth, height, width), np.empty(u.shape[3], u4)
    shares, slopes = np.empty((3, 2, u.shape[3]), f4), np.empty((3, 2, u.shape[3]), f4)
    flat = image.reshape(channels, depth * height * width)
    for k in range(first, last):
        for j in range(u.shape[2]):
            _row(u, (k, j), (line, padding, size), place, shares, slopes)
            (z0, z1), (dz0, dz1) = (shares[0, 0], shares[0, 1]), (slopes[0, 0], slopes[0, 1])
            (y0, y1), (dy0, dy1) = (shares[1, 0], shares[1, 1]), (slopes[1, 0], slopes[1, 1])
            (x0, x1), (dx0, dx1) = (shares[2, 0], shares[2, 1]), (slopes[2, 0], slopes[2, 1])
            gz, gy, gx = out[0, k, j], out[1, k, j], out[2, k, j]
            gz[:], gy[:], gx[:] = f4(0), f4(0), f4(0)
            for ch in range(channels):
                p, g = flat[ch], back[ch, k, j]
                for i in range(len(g)):
                    q = at(place[i])
                    v000, v001, v010, v011 = p[q], p[q + sx], p[q + sy], p[q + sy + sx]
                    q += sz
                    v100, v101, v110, v111 = p[q], p[q + sx], p[q + sy], p[q + sy + sx]
                    v00, v01 = x0[i] * v000 + x1[i] * v001, x0[i] * v010 + x1[i] * v011
                    v10, v11 = x0[i] * v100 + x1[i] * v101, x0[i] * v110 + x1[i] * v111
                    d00, d01 = dx0[i] * v000 + dx1[i] * v001, dx0[i] * v010 + dx1[i] * v011
                    d10, d11 = dx0[i] * v100 + dx1[i] * v101, dx0[i] * v110 + dx1[i] * v111
                    d0, d1 = y0[i] * d00 + y1[i] * d01, y0[i] * d10 + y1[i] * d11
                    e0, e1 = dy0[i] * v00 + dy1[i] * v01, dy0[i] * v10 + dy1[i] * v11
                    low, high = y0[i] * v00 + y1[i] * v01, y0[i] * v10 + y1[i] * v11
                    gx[i] += g[i] * (z0[i] * d0 + z1[i] * d1)
                    gy[i] += g[i] * (z0[i] * e0 + z1[i] * e1)
                    gz[i] += g[i] * (dz0[i] * low + dz1[i] * high)


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
