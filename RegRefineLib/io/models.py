"""Surface models as points that can be moved: .vtk, .vtp, .stl, .ply and .obj.

Only the points are read, and a copy of the file is written with others in their place: triangles,
colours and scalars stay byte for byte. A file counts in LPS mm unless it says SPACE=RAS, which is
how 3D Slicer writes and reads them. Formats: VTK's file formats (VTK User's Guide), Stanford PLY,
Wavefront OBJ, 3D Systems STL.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..geometry import FloatArray
from ..itk_lps import flip_points
from . import vtp
from .notices import notice
from .paths import PathLike, ending_of, present, written_aside

ENDINGS = (".vtk", ".vtp", ".stl", ".ply", ".obj")
_SPACE = re.compile(rb"SPACE=(LPS|RAS)")
_BAD = (ValueError, IndexError, KeyError, TypeError, OverflowError, StopIteration, zlib.error)
_PLY_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
Rebuild = Callable[[FloatArray], bytes]


@dataclass(frozen=True, eq=False)
class Model:
    """A model's points (n, 3) in RAS mm, and the file's contents with others in their place."""

    points: FloatArray
    contents: Rebuild


def read_model(path: PathLike) -> Model:
    """Return the points of a model file.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, no points, a point that is not finite.
    """
    ending = ending_of(path, ENDINGS, "a model that can be read")
    data = present(path).read_bytes()
    readers: dict[str, Callable[[bytes], tuple[FloatArray, Rebuild]]] = {
        ".vtk": _vtk,
        ".vtp": vtp.read,
        ".stl": _stl,
        ".ply": _ply,
        ".obj": _obj,
    }
    try:
        points, rebuild = readers[ending](data)
    except _BAD as error:
        raise RegRefineError(f"{path}: damaged, or not a {ending} model; export it anew") from error
    if not len(points) or not np.isfinite(points).all():
        raise RegRefineError(f"{path}: no points, or points that are not finite; export it anew")
    if re.search(rb"^NORMALS |property float nx|Name=\"Normals\"|^vn ", data, re.MULTILINE):
        notice(f"{path}: normals are left as they are; let the program that shows it compute them")
    space = _SPACE.search(data[:2048])
    if space is not None and space[1] == b"RAS":
        return Model(points, rebuild)
    return Model(flip_points(points), lambda moved: rebuild(flip_points(moved)))


def write_model(model: Model, points_ras: FloatArray, path: PathLike) -> None:
    """Write a model with its points (n, 3) elsewhere, in the format that it was read from.

    Raises:
        RegRefineError: unwritable folder, full disk.
    """
    contents = model.contents(np.asarray(points_ras))
    with written_aside(path, len(contents)) as aside:
        aside.write_bytes(contents)


def _numbers(text: bytes, count: int) -> FloatArray:
    values = np.array([float(word) for word in text.split(maxsplit=count)[:count]])
    if len(values) != count:
        raise ValueError("points are missing")
    return values.reshape(-1, 3)


def _lines(points: FloatArray) -> bytes:
    return b"".join(b"%.9g %.9g %.9g\n" % tuple(p) for p in points.tolist())


def _vtk(data: bytes) -> tuple[FloatArray, Rebuild]:
    head = re.search(rb"^POINTS\s+(\d+)\s+(float|double)[ \t\r]*\n", data, re.MULTILINE)
    if not data.startswith(b"# vtk DataFile") or head is None:
        raise ValueError("no POINTS of a legacy VTK file")
    count, start = int(head[1]) * 3, head.end()
    if re.search(rb"^BINARY\s*$", data[: head.start()], re.MULTILINE):
        kind = np.dtype(">f4" if head[2] == b"float" else ">f8")
        end = start + count * kind.itemsize
        points = np.frombuffer(data[start:end], kind).astype(float).reshape(-1, 3)
        if len(points) * 3 != count:
            raise ValueError("points are missing")
        return points, lambda moved: data[:start] + moved.astype(kind).tobytes() + data[end:]
    found = re.compile(rb"(?:\s*\S+){%d}" % count).match(data, start) if count else None
    if found is None:
        raise ValueError("points are missing")
    end = found.end()
    points = _numbers(data[start:end], count)
    return points, lambda moved: data[:start] + _lines(moved).rstrip() + data[end:]


def _stl(data: bytes) -> tuple[FloatArray, Rebuild]:
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if len(data) == 84 + 50 * count:
        kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
        triangles = np.frombuffer(data, kind, count, 84)

        def rebuild(moved: FloatArray) -> bytes:
            changed = triangles.copy()
            corners = moved.reshape(-1, 3, 3)
            normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            lengths = np.linalg.norm(normals, axis=1, keepdims=True)
            changed["corners"] = corners
            changed["normal"] = normals / np.where(lengths > 0, lengths, 1)
            return data[:84] + changed.tobytes()

        return triangles["corners"].reshape(-1, 3).astype(float), rebuild
    if b"endsolid" not in data:
        raise ValueError("the text ends too early")
    pattern = re.compile(rb"^(\s*vertex\s+)(\S+)\s+(\S+)\s+(\S+)", re.MULTILINE)
    return _by_line(data, pattern)


def _obj(data: bytes) -> tuple[FloatArray, Rebuild]:
    return _by_line(data, re.compile(rb"^(v\s+)(\S+)[ \t]+(\S+)[ \t]+(\S+)", re.MULTILINE))


def _by_line(data: bytes, pattern: re.Pattern[bytes]) -> tuple[FloatArray, Rebuild]:
    """Return the points of lines of text, each three groups of a pattern behind a first one."""
    found = pattern.findall(data)
    points = np.array([[float(v) for v in groups[1:4]] for groups in found]).reshape(-1, 3)

    def rebuild(moved: FloatArray) -> bytes:
        rows = iter(moved.tolist())
        return pattern.sub(lambda m: m[1] + b"%.9g %.9g %.9g" % tuple(next(rows)), data)

    return points, rebuild


def _ply(data: bytes) -> tuple[FloatArray, Rebuild]:
    start = data.index(b"end_header") + len(b"end_header")
    start = data.index(b"\n", start) + 1
    lines = [line.split() for line in data[:start].decode("ascii", "replace").splitlines()]
    form = next(line[1] for line in lines if line[:1] == ["format"])
    elements = [n for n, line in enumerate(lines) if line[:1] == ["element"]]
    first = lines[elements[0]]
    if first[1] != "vertex":
        raise ValueError("the points do not come first")
    last = elements[1] if len(elements) > 1 else len(lines)
    properties = [line[1:] for line in lines[elements[0] : last] if line[:1] == ["property"]]
    names, count = [p[-1] for p in properties], int(first[2])
    where = [names.index(axis) for axis in "xyz"]
    if form == "ascii":
        return _ply_text(data, start, count, where)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[form]
    kind = np.dtype([(p[-1], order + _PLY_TYPES[p[0]]) for p in properties])
    vertices = np.frombuffer(data, kind, count, start)
    points = np.stack([vertices[axis].astype(float) for axis in "xyz"], axis=1)

    def rebuild(moved: FloatArray) -> bytes:
        changed = vertices.copy()
        for n, axis in enumerate("xyz"):
            changed[axis] = moved[:, n]
        return data[:start] + changed.tobytes() + data[start + changed.nbytes :]

    return points, rebuild


def _ply_text(data: bytes, start: int, count: int, where: list[int]) -> tuple[FloatArray, Rebuild]:
    lines = data[start:].split(b"\n")
    rows: list[list[Any]] = [line.split() for line in lines[:count]]
    points = np.array([[float(row[n]) for n in where] for row in rows]).reshape(-1, 3)

    def rebuild(moved: FloatArray) -> bytes:
        for row, point in zip(rows, moved.tolist(), strict=True):
            for n, value in zip(where, point, strict=True):
                row[n] = b"%.9g" % value
        return data[:start] + b"\n".join([*(b" ".join(row) for row in rows), *lines[count:]])

    return points, rebuild
