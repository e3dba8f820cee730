"""Whether an image file is whole: ITK does not look at the checksums of NRRD and MHA."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 16  # of packed data: zeros unpack to a thousand times as much
_HEADER_LIMIT = 1 << 20


def flaw_of(path: Path) -> str | None:
    """Return what is wrong with an image file's bytes in a few words, or None if they are whole.

    Packed NRRD and MHA are checked; other files, and whatever else may be wrong, are left to the
    reader.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            if name.endswith(".nrrd"):
                return _nrrd_flaw(file)
            if name.endswith(".mha"):
                return _mha_flaw(file)
    except EOFError:
        return "the file ends too early"
    except (gzip.BadGzipFile, zlib.error):
        return "the data is damaged, or not compressed as the name or header says"
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
