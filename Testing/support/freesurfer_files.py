"""FreeSurfer's volumes, byte by byte from the format's description."""

from __future__ import annotations

import struct

import numpy as np

CORONAL = [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]


def mgh_bytes(array: np.ndarray, *, frames: int = 1, good: int = 1, kind: int = 3) -> bytes:
    depth, height, width = array.shape
    header = struct.pack(">7ih", 1, width, height, depth, frames, kind, 0, good)
    numbers = [2.0, 3.0, 4.0, *np.ravel(CORONAL), 10.0, 20.0, 30.0]
    header += struct.pack(">15f", *numbers)
    stored = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}.get(kind, ">f4")
    return header.ljust(284, b"\0") + array.astype(stored).tobytes()
