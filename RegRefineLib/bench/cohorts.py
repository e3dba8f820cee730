"""Labelled cohorts in a folder: their published splits, pairs and preprocessing.

A cohort is a row of COHORTS. The two brain cohorts are FiRework's (arXiv 2410.09595; sizes, labels
and order of pairs are its laboratory's), AbdomenCTCT and ACDC those of Reg-TTR (arXiv 2601.19114).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import Geometry, Volume
from ..intensity import scaled
from ..io.volumes import read_labels, read_volume
from ..resample import resample

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


class Subject(NamedTuple):
    """A scan and its label map; a cohort that pairs within subjects pairs scans of one `person`."""

    image: str
    labels: str
    split: str
    person: str = ""


class Pair(NamedTuple):
    """Paths; FILE.npz:KEY is an array of an archive."""

    fixed: str
    moving: str
    fixed_labels: str
    moving_labels: str
    split: str


@dataclass(frozen=True)
class Cohort:
    """How a cohort is read.

    Attributes:
        help: a line.
        subjects: folder -> its scans, in the published order.
        within: pair the scans of each person; False: pair all scans of a split.
        labels: the values that are judged, which become 1, 2, ...; () keeps all as they are.
        intensity: the range that becomes 0..1 (job.INTENSITIES).
        crop: sizes of the central block of 1 mm voxels to keep, (S, A, R); None: all.
        halved: downsample to voxels of twice the size, as Reg-TTR's program does.
    """

    help: str
    subjects: Callable[[Path], list[Subject]]
    within: bool = False
    labels: tuple[int, ...] = ()
    intensity: str = "minmax"
    crop: tuple[int, int, int] | None = None
    halved: bool = False


def pairs(name: str, root: str | Path) -> list[Pair]:
    """Return the ordered pairs of every split; moving is the first of a permutation.

    Raises:
        RegRefineError: no such cohort, or the folder does not contain it.
    """
    cohort, found = _cohort(name), subjects(name, root)
    made = []
    for split in SPLITS:
        of_split = [s for s in found if s.split == split]
        for moving, fixed in permutations(of_split, 2):
            if not cohort.within or moving.person == fixed.person:
                made.append(Pair(fixed.image, moving.image, fixed.labels, moving.labels, split))
    return made


def subjects(name: str, root: str | Path) -> list[Subject]:
    """Return the scans of a cohort in the published order; errors as `pairs`."""
    found = _cohort(name).subjects(Path(root))
    if not found:
        raise RegRefineError(f"{root}: holds no scans as {name} has them ({_cohort(name).help})")
    return found


def prepared(name: str, subject: Subject) -> tuple[Volume, Volume]:
    """Return a scan in 0..1 and its label map as the cohort's published programs prepare them."""
    cohort = _cohort(name)
    image = scaled(read_volume(subject.image), cohort.intensity)
    labels = read_labels(subject.labels).volume
    if cohort.labels:
        labels = Volume(_renumbered(labels.array, cohort.labels), labels.geometry)
    if cohort.crop is not None:
        block = Geometry.from_parts(cohort.crop, (1, 1, 1), np.eye(3), (0, 0, 0))
        corner = image.geometry.centre - block.centre
        block = Geometry.from_parts(cohort.crop, (1, 1, 1), np.eye(3), corner)
        return resample(image, block), resample(labels, block, None, "nearest")
    if cohort.halved:
        return _halved(image, 2), _halved(labels, 0)
    return image, labels


def _cohort(name: str) -> Cohort:
    if name not in COHORTS:
        raise RegRefineError(f"cohort: one of {', '.join(COHORTS)}, got {name!r}")
    return COHORTS[name]


def _renumbered(array: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """Return 1, 2, ... (int16) where the array has the kept values, in their order, 0 elsewhere."""
    order = np.argsort(kept)
    found = np.searchsorted(np.array(kept), array, sorter=order).clip(0, len(kept) - 1)
    place = order[found]
    return np.where(np.array(kept)[place] == array, place + 1, 0).astype(np.int16)


def _halved(volume: Volume, order: int) -> Volume:
    """Return the volume with half as many voxels per axis, by a spline of that order."""
    array = ndimage.zoom(volume.array, 0.5, order=order)
    return Volume(array, volume.geometry.resized(array.shape))


def _numbers(*ranges: int | tuple[int, int]) -> tuple[int, ...]:
    """Return numbers and ranges, ends included, as one tuple."""
    found: list[int] = []
    for part in ranges:
        first, last = (part, part) if isinstance(part, int) else part
        found += range(first, last + 1)
    return tuple(found)


def _existing(folder: Path, stem: str) -> Path | None:
    """Return the file of that name without its ending, if there is one."""
    for ending in (".nii.gz", ".nii", ".hdr", ".img.gz", ".img"):
        path = folder / f"{stem}{ending}"
        if path.is_file():
            return path
    return None


def _both(folder: Path, image: str, labels: str) -> tuple[str, str] | None:
    one, other = _existing(folder, image), _existing(folder, labels)
    return (str(one), str(other)) if one and other else None


def _number(path: Path) -> int:
    """Return the last number in a file's or folder's name, for the order 1, 2, ..., 10."""
    found = re.findall(r"\d+", path.name.split(".")[0])
    return int(found[-1]) if found else 0


def _lpba40(root: Path) -> list[Subject]:
    """S01 ... S40, in folders or not; 30 for training, 10 for the test, in order."""
    found = []
    for number in range(1, 41):
        name = f"S{number:02d}"
        stems = f"{name}.delineation.skullstripped", f"{name}.delineation.structure.label"
        for folder in (root / name, root / "delineation_space" / name, root):
            files = _both(folder, *stems)
            if files:
                found.append(Subject(*files, TRAIN if number <= 30 else TEST))
                break
    return found


def _mindboggle(root: Path) -> list[Subject]:
    """NKI-RS-22 and NKI-TRT-20 for training, OASIS-TRT-20 for the test; MNI152 files first."""
    found = []
    groups = {"NKI-RS-22": TRAIN, "NKI-TRT-20": TRAIN, "OASIS-TRT-20": TEST}
    for group, split in groups.items():
        folders = sorted((root / f"{group}_volumes").glob(f"{group}-*"), key=_number)
        for folder in folders:
            for space in (".MNI152", ""):
                stems = f"t1weighted_brain{space}", f"labels.DKT31.manual{space}"
                files = _both(folder, *stems)
                if files:
                    found.append(Subject(*files, split))
                    break
    return found


def _abdomen(root: Path) -> list[Subject]:
    """img/img0001 ..., label/label0001 ...; 20, 3 and 7 subjects."""
    found = []
    for image in sorted((root / "img").glob("img*.nii.gz"), key=_number):
        number = _number(image)
        labels = root / "label" / f"label{number:04d}.nii.gz"
        split = TRAIN if number <= 20 else VALIDATION if number <= 23 else TEST
        if labels.is_file():
            found.append(Subject(str(image), str(labels), split))
    return found


def _acdc(root: Path) -> list[Subject]:
    """patientNNN_{ed,es}_{img,seg} in train/ and test/; every fifth three of 100 validate."""
    found = []
    for image in sorted(root.glob("*/patient*_e[ds]_img.nii.gz")):
        labels = image.with_name(image.name.replace("_img", "_seg"))
        number = int(image.name[7:10])
        held = VALIDATION if (number - 1) % 20 >= 17 else TRAIN
        if labels.is_file():
            split = TEST if number > 100 else held
            found.append(Subject(str(image), str(labels), split, f"{number:03d}"))
    return found


def _oasis20(root: Path) -> list[Subject]:
    """14 for training and 6 for the test, in the files' order."""
    images = sorted(root.glob("*_SS.nii.gz"))
    files = [(image, image.with_name(image.name.replace("_SS", "_glm"))) for image in images]
    both = [(str(i), str(m)) for i, m in files if m.is_file()]
    return [Subject(*each, TRAIN if n < 14 else TEST) for n, each in enumerate(both)]


def _vxm(root: Path) -> list[Subject]:
    one = root / "test_scan.npz"
    other = [root / f"l2r2019_subject_1_{part}.npz" for part in ("vol", "seg")]
    if not all(path.is_file() for path in (one, *other)):
        return []
    return [
        Subject(f"{one}:vol", f"{one}:seg", TEST),
        Subject(f"{other[0]}:vol_data", f"{other[1]}:vol_data", TEST),
    ]


def _cardiac(root: Path) -> list[Subject]:
    found = []
    for image in sorted(root.glob("*/E[DS]_*_sa.nii.gz")):
        labels = image.with_name(image.name.replace("_sa.", "_sa_gt."))
        if labels.is_file():
            found.append(Subject(str(image), str(labels), TEST, image.name[3:]))
    return found


def _hippocampus(root: Path) -> list[Subject]:
    images = sorted((root / "images").glob("*.nii.gz"))
    named = [(image, root / "labels" / image.name) for image in images]
    return [Subject(str(i), str(m), TEST) for i, m in named if m.is_file()]


def _named(*stems: tuple[str, str]) -> Callable[[Path], list[Subject]]:
    """Return a reader of given files, image and labels by glob patterns."""

    def read(root: Path) -> list[Subject]:
        def files() -> Iterator[Subject]:
            for image, labels in stems:
                one, other = sorted(root.glob(image)), sorted(root.glob(labels))
                if one and other:
                    yield Subject(str(one[0]), str(other[0]), TEST)

        return list(files())

    return read


_LPBA_LABELS = _numbers(
    (21, 34), (41, 50), (61, 68), (81, 92), 101, 102, 121, 122, (161, 166)
)  # fmt: skip
_DKT31 = _numbers(2, 3, (5, 31), 34, 35)
_BRAIN = (160, 192, 160)

COHORTS: dict[str, Cohort] = {
    "lpba40": Cohort(
        "S01/S01.delineation.skullstripped.*, S01.delineation.structure.label.*",
        _lpba40, labels=_LPBA_LABELS, crop=_BRAIN,
    ),
    "mindboggle101": Cohort(
        "NKI-RS-22_volumes/NKI-RS-22-1/t1weighted_brain.*, labels.DKT31.manual.*",
        _mindboggle, labels=tuple(side + n for side in (1000, 2000) for n in _DKT31), crop=_BRAIN,
    ),
    "abdomenctct": Cohort(
        "img/img0001.nii.gz, label/label0001.nii.gz", _abdomen, intensity="ct-soft", halved=True
    ),
    "acdc": Cohort("train/patient001_ed_img.nii.gz, ..._seg.nii.gz", _acdc, within=True),
    "brain_oasis20": Cohort("1000_SS.nii.gz, 1000_glm.nii.gz", _oasis20),
    "brain_vxm": Cohort("test_scan.npz, l2r2019_subject_1_vol.npz, ..._seg.npz", _vxm),
    "cardiac_mms": Cohort("A/ED_NAME_sa.nii.gz, ..._sa_gt.nii.gz", _cardiac, within=True),
    "hippocampus_msd": Cohort("images/NAME.nii.gz, labels/NAME.nii.gz", _hippocampus),
    "torso_ct": Cohort(
        "abdomen_ct.nii.gz, abdomen_ct_labels.nii.gz, chest_ct...",
        _named(*((f"{n}_ct.nii.gz", f"{n}_ct_labels.nii.gz") for n in ("abdomen", "chest"))),
        intensity="ct",
    ),
    "lung_ct": Cohort(
        "*_baseline.mha, *_baseline_mask.mha, *_followup...",
        _named(*((f"*_{n}.mha", f"*_{n}_mask.mha") for n in ("baseline", "followup"))),
        intensity="ct",
    ),
}  # fmt: skip
