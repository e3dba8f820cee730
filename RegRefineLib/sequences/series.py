"""A series of volumes over time, read a frame at a time: memory does not grow with its length.

4-D NIfTI, NRRD and Slicer's .seq.nrrd, or a folder of volumes in the order of their names. What is
compressed is unpacked once, as a stream, into a scratch file.
"""

from __future__ import annotations

import gzip
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ..errors import RegRefineError
from ..geometry import Geometry, Volume, check_finite
from ..io.images import READABLE
from ..io.volumes import read_volume
from .nrrd_header import NrrdHeader, read_header

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Series:
    """A series.

    Attributes:
        values: the index value of each frame (a time, a phase) as the file states it, or 0, 1 ...
        index_name, unit: of these values.
        geometry: of every frame.
        read: returns a frame's array (k, j, i), float32.
    """

    values: tuple[str, ...]
    index_name: str
    unit: str
    geometry: Geometry
    read: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.values)

    def frame(self, number: int) -> Volume:
        """Return a frame, counted from 0.

        Raises:
            RegRefineError: it holds NaN or infinite values.
        """
        array = np.ascontiguousarray(self.read(number), dtype=np.float32)
        check_finite(array, f"frame {number}")
        return Volume(array, self.geometry)


def open_series(path: str | Path, scratch: Path) -> Series:
    """Return the series of a file or folder; `scratch` is a folder for what has to be unpacked.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, fewer than two frames.
    """
    path = Path(path)
    if path.is_dir():
        series = _of_folder(path)
    elif not path.is_file():
        raise RegRefineError(f"{path}: is not there")
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        series = _of_nifti(path, scratch)
    elif path.name.lower().endswith(".nrrd"):
        series = _of_nrrd(path, scratch)
    else:
        raise RegRefineError(f"{path}: a 4-D .nii, .nii.gz or .nrrd, or a folder of volumes")
    if len(series) < 2:
        raise RegRefineError(f"{path}: one frame; a series has two or more")
    return series


def _of_folder(path: Path) -> Series:
    files = [p for p in path.iterdir() if p.name.lower().endswith(READABLE)]
    files.sort(key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p.name)])
    if not files:
        raise RegRefineError(f"{path}: holds no volumes ({', '.join(READABLE)})")
    grid = read_volume(files[0]).geometry

    def read(number: int) -> np.ndarray:
        volume = read_volume(files[number])
        if not volume.geometry.same_grid(grid):
            raise RegRefineError(
                f"{files[number]}: on another grid than {files[0].name}; resample it first"
            )
        return volume.array

    return Series(tuple(p.name.split(".")[0] for p in files), "file", "", grid, read)


def _of_nifti(path: Path, scratch: Path) -> Series:
    try:
        whole = _unpacked(path, scratch) if path.name.lower().endswith(".gz") else path
        image: Any = nibabel.load(whole)
        shape = image.shape
    except (OSError, EOFError, zlib.error, ValueError, nibabel.filebasedimages.ImageFileError) as e:
        raise RegRefineError(f"{path}: damaged or incomplete; copy or export it anew") from e
    sizes = tuple(n for axis, n in enumerate(shape) if axis < 4 or n > 1)
    if len(sizes) != 4:
        raise RegRefineError(f"{path}: a 4-D image is needed, got {len(shape)}-D")
    step = float(image.header.get_zooms()[3]) or 1.0
    unit = image.header.get_xyzt_units()[1]
    values = tuple(f"{n * step:g}" for n in range(sizes[3]))
    grid = Geometry(sizes[2::-1], image.affine)  # type: ignore[arg-type]

    def read(number: int) -> np.ndarray:
        index = (slice(None),) * 3 + (number,) + (0,) * (len(shape) - 4)
        return np.asarray(image.dataobj[index], dtype=np.float32).T

    return Series(values, "time", "" if unit == "unknown" else unit, grid, read)


def _of_nrrd(path: Path, scratch: Path) -> Series:
    header = read_header(path)
    data = path
    offset = header.offset
    if header.encoding == "gzip":
        data, offset = _unpacked(path, scratch, header.offset), 0
    count = int(np.prod(header.sizes)) * header.dtype.itemsize
    if data.stat().st_size - offset < count:
        raise RegRefineError(f"{path}: damaged: the file ends before its last voxel")
    # NRRD's first axis changes fastest, numpy's last
    array = np.memmap(data, header.dtype, "r", offset, header.sizes[::-1])
    frames = np.moveaxis(array, len(header.sizes) - 1 - header.list_axis, 0)

    def read(number: int) -> np.ndarray:
        return np.array(frames[number], dtype=np.float32)

    return Series(header.values, header.index_name, header.unit, _grid(header, path), read)


def _grid(header: NrrdHeader, path: Path) -> Geometry:
    shape = tuple(n for axis, n in enumerate(header.sizes) if axis != header.list_axis)[::-1]
    try:
        return Geometry(shape, header.affine)  # type: ignore[arg-type]
    except ValueError as error:
        raise RegRefineError(f"{path}: {error}") from error


def _unpacked(path: Path, scratch: Path, offset: int = 0) -> Path:
    """Return a scratch file with what a gzip stream holds, unpacked block by block."""
    scratch.mkdir(parents=True, exist_ok=True)
    target = scratch / (path.name.removesuffix(".gz") + (".raw" if offset else ""))
    try:
        with path.open("rb") as file, target.open("wb") as unpacked:
            file.seek(offset)
            with gzip.GzipFile(fileobj=file) as stream:
                shutil.copyfileobj(stream, unpacked, _BLOCK)
    except (OSError, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise RegRefineError(f"{path}: damaged or incomplete, or the disk is full") from error
    return target
