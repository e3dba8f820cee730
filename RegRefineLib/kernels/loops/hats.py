"""Linear sampling by hats of one voxel to each side, with slopes; see loops/__init__.py for how.

A voxel's share in a value is the product of three hats about it, which fades outside the volume; a
value's slope along an axis is the same sum with one hat's slope for its height.
"""

from __future__ import annotations

import numpy as np

from .compiler import inline, loop

f4, i4, u4, at = np.float32, np.int32, np.uint32, np.uintp
ZEROS, BORDER, CUT = 0, 1, 2


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
def _plane_of_weights(shares, slopes, out):
    """As `_plane_of_image`, of a weight of one everywhere."""
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    z0, z1, y0, y1 = shares[0, 0], shares[0, 1], shares[1, 0], shares[1, 1]
    x0, x1, dz0, dz1 = shares[2, 0], shares[2, 1], slopes[0, 0], slopes[0, 1]
    dy0, dy1, dx0, dx1 = slopes[1, 0], slopes[1, 1], slopes[2, 0], slopes[2, 1]
    for i in range(len(o0)):
        z, y, x = z0[i] + z1[i], y0[i] + y1[i], x0[i] + x1[i]
        o0[i] = z * y * x
        o1[i], o2[i] = (dz0[i] + dz1[i]) * y * x, z * (dy0[i] + dy1[i]) * x
        o3[i] = z * y * (dx0[i] + dx1[i])


@inline
def _plane_of_image(p, steps, place, shares, slopes, out):
    """Fill the values of a flat volume and their slopes along the axes, (4, voxels)."""
    sz, sy, sx = steps
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    z0, z1, y0, y1 = shares[0, 0], shares[0, 1], shares[1, 0], shares[1, 1]
    x0, x1, dz0, dz1 = shares[2, 0], shares[2, 1], slopes[0, 0], slopes[0, 1]
    dy0, dy1, dx0, dx1 = slopes[1, 0], slopes[1, 1], slopes[2, 0], slopes[2, 1]
    for i in range(len(o0)):
        q = at(place[i])
        v000, v001, v010, v011 = p[q], p[q + sx], p[q + sy], p[q + sy + sx]
        q += sz
        v100, v101, v110, v111 = p[q], p[q + sx], p[q + sy], p[q + sy + sx]
        v00, v01 = x0[i] * v000 + x1[i] * v001, x0[i] * v010 + x1[i] * v011
        v10, v11 = x0[i] * v100 + x1[i] * v101, x0[i] * v110 + x1[i] * v111
        low, high = y0[i] * v00 + y1[i] * v01, y0[i] * v10 + y1[i] * v11
        o0[i], o1[i] = z0[i] * low + z1[i] * high, dz0[i] * low + dz1[i] * high
        e0, e1 = dy0[i] * v00 + dy1[i] * v01, dy0[i] * v10 + dy1[i] * v11
        o2[i] = z0[i] * e0 + z1[i] * e1
        d0 = y0[i] * (dx0[i] * v000 + dx1[i] * v001) + y1[i] * (dx0[i] * v010 + dx1[i] * v011)
        d1 = y0[i] * (dx0[i] * v100 + dx1[i] * v101) + y1[i] * (dx0[i] * v110 + dx1[i] * v111)
        o3[i] = z0[i] * d0 + z1[i] * d1


@loop
def through_matrix(first, last, image, weight, matrix, out):
    """out (8, d, h, w) = image at matrix (3, 4) x, its slopes by the position, and weight's.

    The image's border goes on, the weight, one everywhere if empty, ends there. Whole planes stand
    for rows: there are few voxels in a row of a coarse image.
    """
    size = (image.shape[0], image.shape[1], image.shape[2])
    plane, row = size[1] * size[2], size[2]
    steps = (
        at(plane if size[0] > 1 else 0),
        at(row if size[1] > 1 else 0),
        at(1 if size[2] > 1 else 0),
    )
    stride = (u4(plane), u4(row), u4(1))
    h, w = out.shape[2], out.shape[3]
    n = h * w
    place, line, u = np.empty(n, u4), np.array([1, 0, 0], f4), np.empty(n, f4)
    shares, slopes = np.empty((3, 2, n), f4), np.empty((3, 2, n), f4)
    result = out.reshape(8, out.shape[1], n)
    for k in range(first, last):
        for volume in range(2):
            place[:] = u4(0)
            for a in range(3):
                along = matrix[a, 2]
                for j in range(h):
                    begin = matrix[a, 0] * f4(k) + matrix[a, 1] * f4(j) + matrix[a, 3]
                    for i in range(w):
                        u[j * w + i] = begin + along * f4(i)
                axis = (0, 0, size[a], stride[a], BORDER if volume == 0 else ZEROS)
                _axis(u, axis, line, place, shares[a], slopes[a])
            target = result[4 * volume : 4 * volume + 4, k]
            if volume == 1 and weight.size == 0:
                _plane_of_weights(shares, slopes, target)
            else:
                source = image if volume == 0 else weight
                flat = source.reshape(source.size)
                _plane_of_image(flat, steps, place, shares, slopes, target)


@loop
def by_matrix(first, last, moved, slopes, sums):
    """sums[k] (3, 4) = plane k's derivative by the matrix; moved: what `through_matrix` gave.

    slopes: the loss's derivatives by the image and by the weight, (D, H, W) each.
    """
    by_image, by_weight = slopes
    for k in range(first, last):
        sums[k] = 0.0
        for j in range(moved.shape[2]):
            gv, gw = by_image[k, j], by_weight[k, j]
            for a in range(3):
                v, w = moved[1 + a, k, j], moved[5 + a, k, j]
                total, along = f4(0), f4(0)
                for i in range(len(v)):
                    g = gv[i] * v[i] + gw[i] * w[i]
                    total += g
                    along += g * f4(i)
                sums[k, a, 0] += total * k
                sums[k, a, 1] += total * j
                sums[k, a, 2] += along
                sums[k, a, 3] += total
