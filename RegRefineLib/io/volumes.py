"""Volumes and label maps from and to files: NIfTI, NRRD, MHA, FreeSurfer, DICOM, .seg.nrrd.

Transforms are in transforms.py, points in landmarks.py. Whatever is wrong with a file is a
RegRefineError that names it; what is doubtful is said (notices.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RegRefineError
from ..geometry import Volume, narrowest_integer, sizes_text
from . import seg_nrrd
from .images import FRAMES, SCALAR, VECTORS, ImageFile, load, save
from .notices import notice
from .paths import PathLike, written_aside

__all__ = [
    "Frames",
    "LabelMap",
    "read_frames",
    "read_label_layers",
    "read_labels",
    "read_masked",
    "read_volume",
    "write_frames",
    "write_labels",
    "write_volume",
    "written_aside",
]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map with what its file says about the labels.

    Attributes:
        volume: whole numbers (k, j, i), 0 for none.
        names, colours: by label, where they are known; colours are (red, green, blue) in 0..1.

    Raises:
        ValueError: the volume's array is not of an integer type.
    """

    volume: Volume
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.volume.array.dtype.kind not in "iu":
            raise ValueError(f"volume: integers are needed, got {self.volume.array.dtype}")


@dataclass(frozen=True, eq=False)
class Frames:
    """The volumes of a file in its own pixel type: one, several frames, or vectors' components.

    Attributes:
        volumes: on one grid, without NaN or infinity.
        kind: scalar, frames or vectors, as images.ImageFile has it.
    """

    volumes: tuple[Volume, ...]
    kind: str = SCALAR


def read_volume(path: PathLike) -> Volume:
    """Return the image of a file as float32 (k, j, i).

    NaN and infinity are background: they become the lowest value, which is said.

    Args:
        path: .nii, .nii.gz, .img, .hdr, .nrrd, .nhdr, .mha, .mhd, .mgz, .mgh, a folder that holds
            one DICOM series, or one DICOM file of a series. A 4-D image of one frame is taken for
            the 3-D image that it is.

    Raises:
        RegRefineError: missing, damaged, of unknown kind, several values in each voxel, no place in
            space (singular directions), no finite value.
    """
    return read_masked(path)[0]


def read_masked(path: PathLike) -> tuple[Volume, Volume | None]:
    """Return the image of a file, and a mask (uint8) of its finite voxels, None if all are.

    Raises:
        RegRefineError: as `read_volume`.
    """
    found = _one_frame(load(path), path)
    with np.errstate(over="ignore"):
        array = found.array.astype(np.float32, copy=False)
    array, inside = _without_holes(array, path)
    mask = None if inside is None else Volume(inside.astype(np.uint8), found.geometry)
    return Volume(array, found.geometry), mask


def read_frames(path: PathLike) -> Frames:
    """Return every volume of a file, 4-D and vector images too, in the file's pixel type.

    Raises:
        RegRefineError: as `read_volume`.
    """
    found = load(path)
    array, _ = _without_holes(found.array, path)
    if found.kind == SCALAR:
        return Frames((Volume(array, found.geometry),))
    parts = (np.ascontiguousarray(array[..., n]) for n in range(array.shape[-1]))
    return Frames(tuple(Volume(part, found.geometry) for part in parts), found.kind)


def write_frames(frames: Frames, path: PathLike) -> None:
    """Write what `read_frames` gives.

    Raises:
        RegRefineError: as `write_volume`.
    """
    if frames.kind == SCALAR:
        write_volume(frames.volumes[0], path)
        return
    array = np.stack([volume.array for volume in frames.volumes], axis=-1)
    save(array, frames.volumes[0].geometry, path, frames.kind)


def read_labels(path: PathLike) -> LabelMap:
    """Return the label map of a file; the formats are those of `read_volume`.

    A .seg.nrrd file brings names and colours. Its layers are flattened: labels stay as they are
    where no two segments share one, else segments are numbered from 1 in the file's order. Where
    segments overlap the smaller one is kept, which is said.

    Raises:
        RegRefineError: as `read_volume`; values that are not whole numbers.
    """
    layers = read_label_layers(path)
    if len(layers) == 1:
        return layers[0]
    return seg_nrrd_flat(layers, path)


def read_label_layers(path: PathLike) -> list[LabelMap]:
    """Return the label maps of a file: one, or where its segments overlap one for each layer.

    No label occurs in two of them.

    Raises:
        RegRefineError: as `read_labels`.
    """
    found = load(path)
    if seg_nrrd.described(found.meta):
        layers = seg_nrrd.layers(found.array, found.meta, path)
        return [LabelMap(Volume(a, found.geometry), n, c) for a, n, c in layers]
    found = _one_frame(found, path)
    return [LabelMap(Volume(_whole(found.array, path), found.geometry))]


def seg_nrrd_flat(layers: list[LabelMap], path: PathLike) -> LabelMap:
    """Return overlapping layers as one map: where segments overlap the smaller one is kept."""
    geometry = layers[0].volume.geometry
    sizes: dict[int, int] = {}
    for layer in layers:
        labels, counts = np.unique(layer.volume.array, return_counts=True)
        sizes |= dict(zip(labels.tolist(), counts.tolist(), strict=True))
    flat = np.zeros(geometry.shape, np.int64)
    shared = 0
    for label in sorted((v for v in sizes if v), key=lambda v: -sizes[v]):
        layer = next(each for each in layers if (each.volume.array == label).any())
        inside = layer.volume.array == label
        shared += int(np.count_nonzero(flat[inside]))
        flat[inside] = label
    if shared:
        notice(f"{path}: segments overlap in {shared} voxels; the smaller segment is kept there")
    names = {k: v for layer in layers for k, v in layer.names.items()}
    colours = {k: v for layer in layers for k, v in layer.colours.items()}
    return LabelMap(Volume(_compact(flat), geometry), names, colours)


def write_volume(volume: Volume, path: PathLike) -> None:
    """Write a volume in its own pixel type to .nii, .nii.gz, .img, .nrrd, .mha, .mgz or .mgh.

    It is written aside, then renamed.

    Raises:
        RegRefineError: unknown ending, unwritable folder, full disk; a sheared grid for .mgz.
    """
    save(_storable(volume.array), volume.geometry, path)


def write_labels(labels: LabelMap | Volume | list[LabelMap], path: PathLike) -> None:
    """Write a label map, compressed, in the smallest integer type that holds it.

    Names and colours are kept by .seg.nrrd only, which Slicer opens as a segmentation; several
    layers too.

    Raises:
        ValueError: the array is not of an integer type.
        RegRefineError: as `write_volume`.
    """
    if isinstance(labels, Volume):
        labels = LabelMap(labels)
    maps = labels if isinstance(labels, list) else [labels]
    if str(path).lower().endswith(".seg.nrrd"):
        arrays = [_compact(each.volume.array) for each in maps]
        kind = np.result_type(*arrays)
        array = arrays[0] if len(maps) == 1 else np.stack([a.astype(kind) for a in arrays], -1)
        meta = seg_nrrd.description(arrays, [(m.names, m.colours) for m in maps])
        layered = SCALAR if len(maps) == 1 else VECTORS
        save(array, maps[0].volume.geometry, path, layered, meta=meta, compress=True)
        return
    if len(maps) > 1:
        maps = [seg_nrrd_flat(maps, path)]
    save(_compact(maps[0].volume.array), maps[0].volume.geometry, path, compress=True)


def _one_frame(found: ImageFile, path: PathLike) -> ImageFile:
    """Return the image if it has one value in each voxel, or say what it is instead."""
    if found.kind == FRAMES:
        raise RegRefineError(
            f"{path}: a 4-D image of {found.array.shape[-1]} frames "
            f"({sizes_text(found.array.shape[2::-1])}); save the one 3-D image wanted"
        )
    if found.kind == VECTORS:
        raise RegRefineError(
            f"{path}: {found.array.shape[-1]} values in each voxel (colour, vectors?); save one "
            "value per voxel, for example as grey"
        )
    return found


def _without_holes(array: NDArray[Any], path: PathLike) -> tuple[NDArray[Any], Any]:
    """Return the array with its lowest value for NaN and infinity, and where it was finite."""
    if array.dtype.kind != "f":
        return array, None
    finite = np.isfinite(array)
    holes = array.size - int(np.count_nonzero(finite))
    if not holes:
        return array, None
    if holes == array.size:
        raise RegRefineError(f"{path}: every voxel is NaN or infinite; export it anew")
    lowest = array[finite].min()
    notice(
        f"{path}: {holes} of {array.size} voxels are NaN or infinite; taken for background "
        f"({lowest:g}), where nothing is compared"
    )
    return np.where(finite, array, lowest), finite


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    stand_in = {"bool": np.uint8, "float16": np.float32, "longdouble": np.float64}
    return array.astype(stand_in.get(array.dtype.name, array.dtype.newbyteorder("=")), copy=False)


def _whole(array: NDArray[Any], path: PathLike) -> NDArray[Any]:
    """Return the array in an integer type."""
    if array.dtype.kind in "iub":
        return array.astype(np.uint8) if array.dtype.kind == "b" else array
    finite = np.isfinite(array)
    holes = array.size - int(np.count_nonzero(finite))
    if holes:
        notice(f"{path}: {holes} voxels are NaN or infinite; taken for 0, no label")
        array = np.where(finite, array, 0)
    whole = np.rint(array)
    apart = np.abs(whole - array)
    if np.any(apart > _ROUNDING) or np.abs(whole).max() > _LARGEST_EXACT:
        raise RegRefineError(f"{path}: {_not_labels(array, apart)}")
    return _compact(whole.astype(np.int64))


def _not_labels(array: NDArray[Any], apart: NDArray[Any]) -> str:
    odd = array[apart > _ROUNDING]
    if not odd.size:
        return f"a label of {np.abs(array).max():.6g} is too large to be exact; number them anew"
    shown = np.format_float_positional(odd.flat[0], trim="-")
    if array.min() >= 0 and array.max() <= 1:
        return (
            f"labels must be whole numbers, found values between 0 and 1 (such as {shown}): a soft "
            "mask or a probability map; threshold it first, for example at 0.5"
        )
    return (
        f"labels must be whole numbers, found {shown} ({odd.size} such voxels); is it an image? "
        "Labels must be resampled by nearest neighbour"
    )


# of a stored label from its whole number: what a scale in the header leaves
_ROUNDING = 1e-4
_LARGEST_EXACT = 2**53


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest type that holds them."""
    return array.astype(narrowest_integer(int(array.max()), int(array.min())), copy=False)
