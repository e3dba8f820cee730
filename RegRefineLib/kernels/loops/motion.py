"""Forces, steps and determinants of displacements; see kernels/motion.py for what."""

from __future__ import annotations

import numpy as np

from .compiler import loop

f4 = np.float32


@loop
def force(first, last, image, slope, metric, out):
    """out (3, D, H, W) = slope * metric * central differences of image, zero on the faces."""
    depth, height, width = image.shape
    half, zero = f4(0.5), f4(0)
    mz, my, mx = metric[0] * half, metric[1] * half, metric[2] * half
    for k in range(first, last):
        inner = k > 0 and k < depth - 1
        below, above = image[k - 1 if inner else k], image[k + 1 if inner else k]
        for j in range(height):
            row, s = image[k, j], slope[k, j]
            oz, oy, ox = out[0, k, j], out[1, k, j], out[2, k, j]
            b, a = below[j], above[j]
            for i in range(width):
                oz[i] = mz * s[i] * (a[i] - b[i])
            if j > 0 and j < height - 1:
                b, a = image[k, j - 1], image[k, j + 1]
                for i in range(width):
                    oy[i] = my * s[i] * (a[i] - b[i])
            else:
                oy[:] = zero
            for i in range(1, width - 1):
                ox[i] = mx * s[i] * (row[i + 1] - row[i - 1])
            ox[0] = zero
            ox[width - 1] = zero


@loop
def length_sums(first, last, field, sums):
    """sums[k] = sums of lengths and squared lengths of field (3, D, H, W) in plane k."""
    for k in range(first, last):
        sums[k] = 0.0
        for j in range(field.shape[2]):
            z, y, x = field[0, k, j], field[1, k, j], field[2, k, j]
            lengths, squares = f4(0), f4(0)
            for i in range(len(z)):
                square = z[i] * z[i] + y[i] * y[i] + x[i] * x[i]
                lengths += np.sqrt(square)
                squares += square
            sums[k, 0] += lengths
            sums[k, 1] += squares


@loop
def limited(first, last, field, least, out):
    """out = field (3, D, H, W) over max(its length, least)."""
    for k in range(first, last):
        for j in range(field.shape[2]):
            z, y, x = field[0, k, j], field[1, k, j], field[2, k, j]
            oz, oy, ox = out[0, k, j], out[1, k, j], out[2, k, j]
            for i in range(len(z)):
                length = np.sqrt(z[i] * z[i] + y[i] * y[i] + x[i] * x[i])
                scale = f4(1) / (length if length > least else least)
                oz[i], oy[i], ox[i] = z[i] * scale, y[i] * scale, x[i] * scale


@loop
def determinant(first, last, u, out):
    """out (D, H, W) = det(I + grad u) of u (3, D, H, W); one-sided differences on the faces."""
    depth, height, width = out.shape
    d = np.empty((9, width), f4)
    for k in range(first, last):
        k0, k1 = max(k - 1, 0), min(k + 1, depth - 1)
        sz = f4(1) / f4(k1 - k0)
        for j in range(height):
            j0, j1 = max(j - 1, 0), min(j + 1, height - 1)
            sy = f4(1) / f4(j1 - j0)
            for c in range(3):
                before, after, dz = u[c, k0, j], u[c, k1, j], d[3 * c]
                for i in range(width):
                    dz[i] = sz * (after[i] - before[i])
                before, after, dy = u[c, k, j0], u[c, k, j1], d[3 * c + 1]
                for i in range(width):
                    dy[i] = sy * (after[i] - before[i])
                row, dx = u[c, k, j], d[3 * c + 2]
                for i in range(1, width - 1):
                    dx[i] = f4(0.5) * (row[i + 1] - row[i - 1])
                dx[0] = row[1] - row[0]
                dx[width - 1] = row[width - 1] - row[width - 2]
            o = out[k, j]
            zz, zy, zx, yz, yy, yx, xz, xy, xx = (
                d[0],
                d[1],
                d[2],
                d[3],
                d[4],
                d[5],
                d[6],
                d[7],
                d[8],
            )
            for i in range(width):
                a, e, g = zz[i] + f4(1), yy[i] + f4(1), xx[i] + f4(1)
                first_minor = e * g - yx[i] * xy[i]
                second_minor = yz[i] * g - yx[i] * xz[i]
                third_minor = yz[i] * xy[i] - e * xz[i]
                o[i] = a * first_minor - zy[i] * second_minor + zx[i] * third_minor
