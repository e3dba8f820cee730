"""Whether an image file is whole: ITK fills the missing end of a NIfTI file with zeros without a
word, as it does NaN and infinity, does not look at the checksums of NRRD and MHA, and writes NIfTI
on a full disk "well"."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

_CHUNK = 1 << 16  # of packed data: zeros unpack to a thousand times as much
_HEADER_LIMIT = 1 << 20
_NIFTI1, _NIFTI2 = 348, 540
_NIFTI_FLOATS = {16: "f4", 64: "f8"}


def flaw_of(path: Path) -> str | None:
    """Return what is wrong with an image file's bytes in a few words, or None if they are whole.

    NIfTI is checked for its length and for numbers that are none, compressed NIfTI, NRRD and MHA
    for their checksums as well. Other files, and whatever else may be wrong, are left to the
    reader.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            if name.endswith(".nii.gz"):
                with gzip.open(file) as unpacked:
                    return _nifti_flaw(unpacked)
            if name.endswith(".nii"):
                return _nifti_flaw(file)
            if name.endswith(".nrrd"):
                return _nrrd_flaw(file)
            if name.endswith(".mha"):
                return _mha_flaw(file)
    except EOFError:
        return "the file ends too early"
    except (gzip.BadGzipFile, zlib.error):
        return "the data is damaged, or not compressed as the name or header says"
    return None


def _nifti_flaw(file: BinaryIO | gzip.GzipFile) -> str | None:
    header = file.read(_NIFTI2)
    needed = _nifti_length(header)
    if needed is None:
        return "there is no NIfTI header"
    length = len(header) + sum(len(chunk) for chunk in _chunks(file))
    if length < needed:
        return f"{needed} bytes are announced, {length} are there"
    bad = _count_not_finite(file, header)
    return f"{bad} voxels are NaN or infinite" if bad else None


def _count_not_finite(file: BinaryIO | gzip.GzipFile, header: bytes) -> int:
    """Return how many of a NIfTI file's numbers, if they are floating-point, are none."""
    order = "<" if struct.unpack("<i", header[:4])[0] in (_NIFTI1, _NIFTI2) else ">"
    first = struct.unpack(order + "i", header[:4])[0] == _NIFTI1
    kind = struct.unpack(order + "h", header[70:72] if first else header[12:14])[0]
    place = ("f", header[108:112]) if first else ("q", header[168:176])
    if kind not in _NIFTI_FLOATS:
        return 0
    file.seek(int(struct.unpack(order + place[0], place[1])[0]) or _NIFTI1)
    size, bad = np.dtype(_NIFTI_FLOATS[kind]).itemsize, 0
    for chunk in _chunks(file):
        values = np.frombuffer(chunk[: len(chunk) // size * size], order + _NIFTI_FLOATS[kind])
        bad += len(values) - int(np.isfinite(values).sum())
    return bad


def _nifti_length(header: bytes) -> int | None:
    """Return the bytes that a NIfTI-1 or -2 header announces, itself included."""
    for order in "<>":
        kind = struct.unpack(order + "i", header[:4])[0] if len(header) >= 4 else 0
        if kind == _NIFTI1 and len(header) >= _NIFTI1:
            sizes = struct.unpack(order + "8h", header[40:56])
            bits = struct.unpack(order + "h", header[72:74])[0]
            start = struct.unpack(order + "f", header[108:112])[0]
        elif kind == _NIFTI2 and len(header) >= _NIFTI2:
            sizes = struct.unpack(order + "8q", header[16:80])
            bits = struct.unpack(order + "h", header[14:16])[0]
            start = struct.unpack(order + "q", header[168:176])[0]
        else:
            continue
        count = math.prod(max(n, 1) for n in sizes[1 : 1 + min(max(sizes[0], 0), 7)])
        return int(start if math.isfinite(start) else _NIFTI1) + count * bits // 8
    return None


def _nrrd_flaw(file: BinaryIO) -> str | None:
    """Read through the gzip member of a NRRD file with attached gzip data."""
    fields = _header(file, end="")
    elsewhere = {"data file", "datafile", "line skip", "byte skip"} & set(fields)
    if fields.get("encoding") in ("gzip", "gz") and not elsewhere:
        with gzip.open(file) as unpacked:
            for _ in _chunks(unpacked):
                pass
    return None


def _mha_flaw(file: BinaryIO) -> str | None:
    """Read through the zlib stream of an MHA file, whose checksum comes last."""
    fields = _header(file, end="elementdatafile")
    packed = fields.get("compresseddata", "").lower() == "true"
    if not packed or fields.get("elementdatafile", "").lower() != "local":
        return None
    unpacker = zlib.decompressobj()
    for chunk in _chunks(file):
        unpacker.decompress(chunk)
    return None if unpacker.eof else "the file ends too early"


def _header(file: BinaryIO, end: str) -> dict[str, str]:
    """Return the `key: value` or `key = value` lines of a header, the one with key `end` last."""
    fields: dict[str, str] = {}
    while line := file.readline(_HEADER_LIMIT):
        text = line.decode("latin-1")
        key, _, value = text.partition("=" if "=" in text.split(":")[0] else ":")
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == end:
            break
    return fields


def _chunks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
