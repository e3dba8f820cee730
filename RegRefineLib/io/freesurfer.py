"""FreeSurfer's .mgz and .mgh volumes, which SimpleITK does not read; nibabel does.

Source: the format's description, https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer import MGHImage
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, Volume
from .paths import PathLike, present, written_aside

ENDINGS = (".mgz", ".mgh")
_TYPES = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.float32))
_UNREADABLE = (
    *(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, MemoryError),
    *(HeaderDataError, ImageDataError, WrapStructError, MGHError),
)
# columns go to the left, rows down, slices forward: where a file does not say its directions
_CORONAL = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def read_mgz(path: PathLike) -> Volume:
    """Return the volume in a .mgz or .mgh file, its array (k, j, i) in the file's pixel type.

    Raises:
        RegRefineError: the file is missing, damaged, or holds several frames.
    """
    array, affine = read_frames(path)
    if array.ndim > 3:
        raise RegRefineError(f"{path}: {array.shape[3]} frames; one volume is needed")
    return Volume(array, Geometry(array.shape, affine))  # type: ignore[arg-type]


def read_frames(path: PathLike) -> tuple[NDArray[Any], FloatArray]:
    """Return the voxels (k, j, i), with several frames (k, j, i, n), and the 4x4 to RAS mm.

    Raises:
        RegRefineError: the file is missing or damaged.
    """
    file = present(path)
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)  # all of it: the checksum comes last
        image = MGHImage.from_bytes(content)
        stored = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise RegRefineError(
            f"{path}: damaged, or not a FreeSurfer volume; copy it anew"
        ) from error
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    array = np.ascontiguousarray(native.transpose(2, 1, 0, *range(3, native.ndim)))
    if int.from_bytes(content[28:30], "big") == 1:  # goodRASFlag
        return array, np.asarray(image.affine, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, :3] = _CORONAL
    affine[:3, 3] = -_CORONAL @ (np.array(array.shape[2::-1]) / 2)
    return array, affine


def write_frames(array: NDArray[Any], geometry: Geometry, path: PathLike) -> None:
    """Write (k, j, i) or frames (k, j, i, n), in their own type if the format has it, else float32.

    Raises:
        RegRefineError: unwritable folder, full disk; a sheared grid, which the format cannot hold.
    """
    if not np.allclose(geometry.direction.T @ geometry.direction, np.eye(3), atol=1e-4):
        raise RegRefineError(f"{path}: the grid is sheared, which FreeSurfer's files cannot hold")
    if array.dtype.kind in "iub" and array.dtype not in _TYPES:
        fits = np.abs(array.astype(np.float64)).max(initial=0) <= np.iinfo(np.int32).max
        array = array.astype(np.int32 if fits else np.float32)
    elif array.dtype not in _TYPES:
        array = array.astype(np.float32)
    turned = array.transpose(2, 1, 0, *range(3, array.ndim))
    image = MGHImage(np.asfortranarray(turned), geometry.affine)
    packed = str(path).lower().endswith(".mgz")
    with written_aside(path, 0 if packed else array.nbytes) as aside:
        nib.save(image, aside)
