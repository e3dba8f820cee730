"""Headers of NRRD files that hold a series: which axis is time, what its values are, where it lies.

Read here because ITK loads such a file as a whole; https://teem.sourceforge.net/nrrd/format.html.
Slicer's keys are `axis N index type`, `axis N index values` (before 5.11: in `measurement frame`'s
place, `axis 0 index ...`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import FloatArray
from ..itk_lps import flip_points

_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "short": "i2", "short int": "i2", "signed short": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "float": "f4", "double": "f8",
}  # fmt: skip
_SPACES = {
    "left-posterior-superior": True, "lps": True,
    "right-anterior-superior": False, "ras": False,
}  # fmt: skip


@dataclass(frozen=True)
class NrrdHeader:
    """What a series' header states; sizes with the axis that changes fastest first."""

    dtype: np.dtype
    sizes: tuple[int, ...]
    list_axis: int
    encoding: str
    offset: int
    affine: FloatArray
    values: tuple[str, ...]
    index_name: str
    unit: str


def read_header(path: Path) -> NrrdHeader:
    """Return the header of a four-dimensional NRRD file.

    Raises:
        RegRefineError: not such a file, or its data lie elsewhere or in an unusual encoding.
    """
    fields, keys, offset = _lines(path)
    try:
        sizes = tuple(int(n) for n in fields["sizes"].split())
        if len(sizes) != 4:
            raise RegRefineError(f"{path}: a 4-D image is needed, got {len(sizes)}-D")
        order = ">" if fields.get("endian", "little") == "big" else "<"
        dtype = np.dtype(order + _TYPES[fields["type"]])
        encoding = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}[fields["encoding"]]
        axis = _list_axis(fields)
        affine = _affine(fields, axis)
    except (KeyError, ValueError, IndexError) as error:
        raise RegRefineError(
            f"{path}: its header cannot be read ({error}); save it as raw or gzip NRRD"
        ) from error
    if "data file" in fields or "datafile" in fields:
        raise RegRefineError(f"{path}: its data lie in another file; save it as one .nrrd")
    values = keys.get(f"axis {axis} index values", "").split()
    if len(values) != sizes[axis]:
        values = [str(n) for n in range(sizes[axis])]
    labels = re.findall(r'"([^"]*)"', fields.get("labels", ""))
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    name = labels[axis] if len(labels) > axis and labels[axis] else "frame"
    unit = units[axis] if len(units) > axis else ""
    return NrrdHeader(dtype, sizes, axis, encoding, offset, affine, tuple(values), name, unit)


def _lines(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Return the fields, the keys and where the data begin."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline().startswith(b"NRRD"):
            raise RegRefineError(f"{path}: is no NRRD file")
        while True:
            line = file.readline(1 << 20)
            if not line:
                raise RegRefineError(f"{path}: damaged: the file ends within the header")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not text:
                return fields, keys, file.tell()
            if ":=" in text:
                key, _, value = text.partition(":=")
                keys[key.strip()] = value.strip()
            elif ":" in text and not text.startswith("#"):
                key, _, value = text.partition(":")
                fields[key.strip().lower()] = value.strip().lower() if key != "labels" else value


def _list_axis(fields: dict[str, str]) -> int:
    kinds = fields.get("kinds", "").split()
    for axis, kind in enumerate(kinds):
        if kind in ("list", "time", "vector", "none", "???"):
            return axis
    directions = fields["space directions"].split()
    return directions.index("none") if "none" in directions else 3


def _affine(fields: dict[str, str], list_axis: int) -> FloatArray:
    is_lps = _SPACES[re.sub(r"-time$", "", fields.get("space", "lps"))]
    directions = re.findall(r"none|\([^)]*\)", fields["space directions"])
    columns = [_vector(text) for axis, text in enumerate(directions) if axis != list_axis]
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns[:3], axis=1)
    affine[:3, 3] = _vector(fields["space origin"])
    if is_lps:
        affine[:3] = flip_points(affine[:3].T).T
    return affine


def _vector(text: str) -> FloatArray:
    return np.array([float(n) for n in text.strip("() ").split(",")][:3])
