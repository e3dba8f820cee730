"""NIfTI and Analyze files, read and written with nibabel.

Where the voxels are is decided by one rule, that of nibabel, FSL and SPM: by the sform where its
code is above 0, else by the qform where its code is, else by the voxel sizes alone. ITK, and with
it 3D Slicer, decides otherwise where the two differ; that is said, in millimetres. The sform may be
sheared. Lengths in micrometres or metres, where the header says so, are turned into millimetres.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, transformed
from ..itk_lps import affine_of
from .notices import notice
from .paths import PathLike, itk_name, quiet, written_aside

SINGLE_FILES = (".nii.gz", ".nii")
PAIRS = (".img.gz", ".hdr.gz", ".img", ".hdr")
ENDINGS = (*SINGLE_FILES, *PAIRS)
VECTOR = 1007
_UNREADABLE = (
    *(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, OverflowError, MemoryError),
    *(HeaderDataError, ImageDataError, ImageFileError, WrapStructError),
)
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres
_UNITS = {1: "metres", 3: "micrometres"}
# how far apart, in voxels, two places of the same voxel are a difference
_APART = 0.01


class Nifti(NamedTuple):
    """What a file holds.

    Attributes:
        array: (k, j, i), or (k, j, i, n) of several frames, or of vectors if `vectors`.
        affine: 4x4, voxel (i, j, k) -> RAS mm.
        meta: intent_code, intent_name, intent_p1, descrip, units, as text.
    """

    array: NDArray[Any]
    affine: FloatArray
    vectors: bool
    meta: dict[str, str]


def read(path: Path) -> Nifti:
    """Return what a NIfTI-1, NIfTI-2 or Analyze file holds, however its name says it is packed.

    Raises:
        RegRefineError: damaged, of another kind, of more than 5 dimensions.
    """
    try:
        with _hushed():
            header, affine, array = _opened(path)
    except _UNREADABLE as error:
        raise RegRefineError(f"{path}: {_why(path, error)}") from error
    vectors, array = _by_voxel(array, path)
    affine = _with_third_axis(affine, array.shape)
    units = int(header.get("xyzt_units", 0)) & 7 if "xyzt_units" in header else 0
    if units in _MM:
        affine[:3] *= _MM[units]
        notice(
            f"{path}: its header counts in {_UNITS[units]}, taken so as ITK and Slicer do; "
            "nibabel, FSL and SPM take the numbers for millimetres"
        )
    if "sform_code" in header:
        _say_doubts(path, header, affine, array.shape[:3], _MM.get(units, 1.0))
    meta = {key: _text(header, key) for key in ("intent_code", "intent_name", "intent_p1")}
    meta |= {"descrip": _text(header, "descrip"), "units": str(units)}
    return Nifti(array, affine, vectors, meta)


def write(
    array: NDArray[Any],
    geometry: Geometry,
    path: PathLike,
    intent: tuple[int, str, float] = (0, "", 0.0),
    frames: bool = False,
) -> None:
    """Write an array (k, j, i) or (k, j, i, n), its sform and qform alike, aside and then renamed.

    A grid that the qform cannot hold (a sheared one) stands in the sform alone.

    Args:
        intent: code, name and first parameter of a field, whose array is written as
            (i, j, k, 1, n); code 0: none.
        frames: write (i, j, k, n) all the same.

    Raises:
        RegRefineError: unwritable folder, full disk.
    """
    turned = array.transpose(2, 1, 0, *range(3, array.ndim))
    if intent[0] and not frames:
        turned = turned[:, :, :, None, :]
    kind: Any = nib.Nifti1Image if max(turned.shape) < 2**15 else nib.Nifti2Image
    image = kind(turned, geometry.affine, dtype=turned.dtype)
    header = image.header
    header.set_xyzt_units("mm")
    code = 1
    image.set_sform(geometry.affine, code)
    header.set_qform(geometry.affine, code, strip_shears=True)
    if not _alike(header.get_qform(), geometry.affine, geometry.shape):
        header["qform_code"] = 0
    if intent[0]:
        header.set_intent(intent[0], (), intent[1], allow_unknown=True)
        header["intent_p1"] = intent[2]
    packed = str(path).lower().endswith(".gz")
    with written_aside(path, 0 if packed else turned.nbytes) as aside:
        nib.save(image, aside)


def _opened(path: Path) -> tuple[Any, FloatArray, NDArray[Any]]:
    """Return the header, the affine and the numbers of a file, which is read to its very end."""
    if path.name.lower().endswith(PAIRS):
        image = nib.load(path)
        return image.header, np.array(image.affine), _values(image.dataobj)  # type: ignore[attr-defined]
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        size = stream.read(4)
        stream.seek(0)
        second = 540 in (int.from_bytes(size, "little"), int.from_bytes(size, "big"))
        image = (nib.Nifti2Image if second else nib.Nifti1Image).from_stream(stream)
        array = _values(image.dataobj)
        while stream.read(1 << 16):  # the checksum of packed data comes last
            pass
    return image.header, np.array(image.affine, dtype=np.float64), array


def _values(proxy: Any) -> NDArray[Any]:
    """Return the numbers: of the stored type where they are not scaled, else floating-point."""
    stored = np.asarray(proxy.get_unscaled())
    if (proxy.slope, proxy.inter) == (1.0, 0.0) or stored.dtype.names:
        return stored
    # float32 counts whole numbers exactly up to 2^24
    values = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    values *= proxy.slope
    values += proxy.inter
    return values


def _why(path: Path, error: Exception) -> str:
    """Return in a few words why a file cannot be read."""
    advice = "copy or export it anew"
    if isinstance(error, ImageDataError) or "Expected" in str(error):
        return f"damaged image file: it ends before its last voxel; {advice}"
    if isinstance(error, EOFError):
        return f"damaged image file: the file ends too early; {advice}"
    if isinstance(error, (zlib.error, gzip.BadGzipFile)):
        return f"damaged image file: its packed data is damaged; {advice}"
    if path.name.lower().endswith(PAIRS) and isinstance(error, FileNotFoundError):
        return "its other half is missing: .hdr and .img files belong together"
    return f"damaged, incomplete or not NIfTI as its name says; {advice}"


def _with_third_axis(affine: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the affine; a single slice without a third axis gets one across it."""
    if shape[0] == 1 and not np.any(affine[:3, 2]):
        across = np.cross(affine[:3, 0], affine[:3, 1])
        length = float(np.linalg.norm(across))
        if length > 0:
            affine[:3, 2] = across / np.sqrt(length)
    return affine


def _by_voxel(array: NDArray[Any], path: Path) -> tuple[bool, NDArray[Any]]:
    """Return whether a file holds vectors, and its array as (k, j, i) or (k, j, i, n)."""
    if array.dtype.names:  # colours
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
        array = array.reshape(*array.shape[:-1], *[1] * (5 - array.ndim), array.shape[-1])
    if array.dtype.kind == "c":
        raise RegRefineError(f"{path}: complex numbers; save their magnitude")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    while array.ndim < 3:
        array = array[..., None]
    if array.ndim > 5 or (array.ndim == 5 and array.shape[3] != 1):
        raise RegRefineError(
            f"{path}: {array.ndim}-D ({' x '.join(map(str, array.shape))}); save one image of it"
        )
    vectors = array.ndim == 5
    array = array[:, :, :, 0] if vectors else array
    array = array.transpose(2, 1, 0, *range(3, array.ndim))
    return vectors, np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _say_doubts(
    path: Path, header: Any, affine: FloatArray, shape: tuple[int, ...], mm: float
) -> None:
    """Say where the header's two forms differ, and where ITK takes another place."""
    codes = int(header["sform_code"]), int(header["qform_code"])
    try:
        qform = header.get_qform()
    except ValueError:  # its numbers are no rotation, and the sform is taken
        qform = affine / np.array([[mm], [mm], [mm], [1.0]])
    qform[:3] *= mm
    sentences = []
    if min(codes) > 0 and not _alike(qform, affine, shape):
        gap = _largest_gap(qform, affine, shape)
        sentences.append(
            f"its sform and qform place the voxels up to {gap:.3g} mm apart; the sform (code "
            f"{codes[0]}) is taken, as nibabel, FSL and SPM do"
        )
    if max(codes) <= 0:
        sentences.append(
            "its header does not say where the voxels are (sform and qform codes are 0); placed by "
            "the voxel sizes alone, as nibabel does: left and right are a guess"
        )
    elsewhere = _itk_affine(path) if header["dim"][0] > 2 else affine
    if elsewhere is None:
        sentences.append("3D Slicer and other ITK programs refuse it (axes not at right angles)")
    elif not _alike(elsewhere, affine, shape):
        gap = _largest_gap(elsewhere, affine, shape)
        sentences.append(f"3D Slicer and other ITK programs show it up to {gap:.3g} mm elsewhere")
    if sentences:
        notice(f"{path}: {'; '.join(sentences)}")


def _itk_affine(path: Path) -> FloatArray | None:
    """Return where ITK places the voxels (4x4 to RAS mm), None where it refuses the file."""
    reader = sitk.ImageFileReader()
    try:
        with itk_name(path) as name, quiet():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    return affine_of(reader)


def _largest_gap(one: FloatArray, other: FloatArray, shape: tuple[int, ...]) -> float:
    ends = [(0, n - 1) for n in shape[::-1]]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    return float(
        np.linalg.norm(transformed(one, corners) - transformed(other, corners), axis=1).max()
    )


def _alike(one: FloatArray, other: FloatArray, shape: tuple[int, ...]) -> bool:
    voxel = float(np.linalg.norm(other[:3, :3], axis=0).min())
    return _largest_gap(one, other, shape) <= _APART * voxel


def _text(header: Any, key: str) -> str:
    if key not in header:
        return ""
    value = np.asarray(header[key]).item()
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep nibabel's remarks about headers from standard error; what matters is said here."""
    logger = logging.getLogger("nibabel.global")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
