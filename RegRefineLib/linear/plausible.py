"""Whether a linear part is plausible for two scans of a body."""

from __future__ import annotations

import math

import numpy as np

from ..geometry import FloatArray

MOST_DEGREES = 45.0
LEAST_SCALE, MOST_SCALE = 0.8, 1.25


def doubts(matrix: FloatArray) -> list[str]:
    """Return a sentence for each implausible property of a 4x4 in RAS mm.

    Its angle is that of the nearest rotation; its scales are the singular values of the 3x3.
    """
    left, scales, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64)[:3, :3])
    sentences = []
    if np.linalg.det(matrix[:3, :3]) < 0:
        sentences.append("the linear part mirrors the image; check the orientation of both scans")
        left = left * [1.0, 1.0, -1.0]
    cosine = (np.trace(left @ right) - 1.0) / 2.0
    degrees = math.degrees(math.acos(float(np.clip(cosine, -1.0, 1.0))))
    if degrees > MOST_DEGREES:
        sentences.append(
            f"the linear part turns the image by {degrees:.0f} degrees; check that the scans lie "
            "like that, or start from their headers with --affine none"
        )
    least, most = float(scales.min()), float(scales.max())
    if least < LEAST_SCALE or most > MOST_SCALE:
        sentences.append(
            f"the linear part scales the image by {least:.2f} to {most:.2f} along its axes; check "
            "the scans' voxel sizes and overlap, or use --affine rigid"
        )
    return sentences
