"""FreeSurfer's .mgz and .mgh volumes, which SimpleITK does not read.

Source: the format's description, https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import Geometry, Volume

# all numbers are big-endian; a header of 284 bytes, then the voxels, columns fastest
_HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("size", ">i4", 3),  # columns, rows, slices
        ("frames", ">i4"),
        ("type", ">i4"),
        ("dof", ">i4"),
        ("has_geometry", ">i2"),
        ("spacing", ">f4", 3),  # mm
        ("axes", ">f4", (3, 3)),  # RAS unit vectors of the columns', rows' and slices' directions
        ("centre", ">f4", 3),  # RAS mm of voxel index size / 2
    ]
)
_DATA_OFFSET = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}


def read_mgz(path: str | Path) -> Volume:
    """Return the volume in a .mgz or .mgh file, its array (k, j, i) in the file's pixel type.

    Raises:
        RegRefineError: the file cannot be read, is damaged, or holds several frames.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as problem:
        raise RegRefineError(f"cannot read {path}: {problem}") from problem
    if len(content) < _DATA_OFFSET:
        raise RegRefineError(f"{path} is not a FreeSurfer volume: it ends within the header")
    header = np.frombuffer(content, _HEADER, 1)[0]
    size = [int(n) for n in header["size"]]
    dtype = _TYPES.get(int(header["type"]))
    if header["version"] != 1 or dtype is None or min(size) < 1:
        raise RegRefineError(f"{path} is not a FreeSurfer volume of a known kind")
    if header["frames"] != 1:
        raise RegRefineError(f"{path} has {header['frames']} frames; one volume is needed")
    count = size[0] * size[1] * size[2]
    if len(content) < _DATA_OFFSET + count * np.dtype(dtype).itemsize:
        raise RegRefineError(f"{path} is damaged: it ends before its last voxel")
    voxels = np.frombuffer(content, dtype, count, _DATA_OFFSET).reshape(size[::-1])
    return Volume(voxels.astype(voxels.dtype.newbyteorder("=")), _geometry(header, size))


def _geometry(header: np.void, size: list[int]) -> Geometry:
    if header["has_geometry"] == 1:
        spacing = header["spacing"].astype(float)
        axes = header["axes"].astype(float).T
        centre = header["centre"].astype(float)
    else:  # the format's default: coronal slices, 1 mm
        spacing, centre = np.ones(3), np.zeros(3)
        axes = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    origin = centre - (axes * spacing) @ (np.array(size) / 2)
    return Geometry.from_parts(size[::-1], spacing, axes, origin)
