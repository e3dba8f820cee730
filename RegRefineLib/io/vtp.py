"""The points of VTK's XML models (.vtp), in text, in base64, appended, packed by zlib or not.

Source: the VTK User's Guide, "VTK File Formats": binary data begins with its length in bytes
(header_type); packed data with the number of blocks, the size of a block and of the last one, and
each block's packed size.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable

import numpy as np

from ..geometry import FloatArray

_POINTS = re.compile(rb"<Points>\s*(<DataArray\b[^>]*?(?:/>|>(.*?)</DataArray>))", re.DOTALL)
_TYPES = {"Float32": "f4", "Float64": "f8"}


def read(data: bytes) -> tuple[FloatArray, Callable[[FloatArray], bytes]]:
    """Return the points (n, 3) of a file as it counts them, and its contents with others instead.

    Raises:
        ValueError, KeyError, IndexError: damaged, or several pieces.
    """
    found = _POINTS.findall(data)
    match = _POINTS.search(data)
    if match is None or len(found) != 1:
        raise ValueError("no points, or several pieces")
    tag = match[1][: match[1].index(b">") + 1]
    order = ">" if _attribute(data, "byte_order") == "BigEndian" else "<"
    kind = np.dtype(order + _TYPES[_attribute(tag, "type")])
    form = _attribute(tag, "format")
    if form == "ascii":
        values = np.array([float(word) for word in (match[2] or b"").split()])
    elif form == "binary":
        values = np.frombuffer(_unpacked(re.sub(rb"\s", b"", match[2]), data, order), kind)
    else:
        values = np.frombuffer(_appended(data, int(_attribute(tag, "offset")), order), kind)
    points = values.astype(float).reshape(-1, 3)

    def rebuild(moved: FloatArray) -> bytes:
        text = b"\n".join(b"%.9g %.9g %.9g" % tuple(p) for p in moved.tolist())
        name = _attribute(tag, "type").encode()
        array = b'<DataArray type="%s" Name="Points" NumberOfComponents="3" format="ascii">\n%s\n'
        return (
            data[: match.start(1)] + array % (name, text) + b"</DataArray>" + data[match.end(1) :]
        )

    return points, rebuild


def _attribute(text: bytes, name: str) -> str:
    found = re.search(rb'\b%s="([^"]*)"' % name.encode(), text)
    return found[1].decode("ascii", "replace") if found else ""


def _header(data: bytes, order: str) -> np.dtype[np.unsignedinteger]:
    wide = _attribute(data[:4096], "header_type") == "UInt64"
    return np.dtype(order + ("u8" if wide else "u4"))


def _appended(data: bytes, offset: int, order: str) -> bytes:
    start = data.index(b"<AppendedData")
    is_text = b'encoding="base64"' in data[start : start + 100]
    begin = data.index(b"_", data.index(b">", start)) + 1 + offset
    if is_text:
        end = data.index(b"</AppendedData", begin)
        return _unpacked(re.sub(rb"\s", b"", data[begin:end]), data, order)
    return _unpacked(data[begin:], data, order, is_text=False)


def _unpacked(body: bytes, data: bytes, order: str, is_text: bool = True) -> bytes:
    """Return the bytes of one array, whose header `body` begins with."""
    size = _header(data, order)
    if not _attribute(data[:4096], "compressor"):
        content = base64.b64decode(body[: len(body) // 4 * 4]) if is_text else body
        length = int(np.frombuffer(content, size, 1)[0])
        return content[size.itemsize : size.itemsize + length]
    if "ZLib" not in _attribute(data[:4096], "compressor"):
        raise ValueError("packed in a way that is not read")
    words = 3 + int(np.frombuffer(_start(body, size.itemsize, is_text), size, 1)[0])
    head = np.frombuffer(_start(body, words * size.itemsize, is_text), size, words)
    begin = -(-words * size.itemsize // 3) * 4 if is_text else words * size.itemsize
    rest = (
        base64.b64decode(body[begin : begin + (len(body) - begin) // 4 * 4])
        if is_text
        else body[begin:]
    )
    blocks, at = [], 0
    for length in head[3:].tolist():
        blocks.append(zlib.decompress(rest[at : at + length]))
        at += length
    return b"".join(blocks)


def _start(body: bytes, count: int, is_text: bool) -> bytes:
    return base64.b64decode(body[: -(-count // 3) * 4])[:count] if is_text else body[:count]
