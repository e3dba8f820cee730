"""Labelled pairs of real scans that lie outside the project, by name.

The folder is named by REGREFINE_DATA (default ../shared/data from the project's root). A case is a
function that returns its Pairs; what has no header gets the spacing its source states.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import read_labels, read_volume

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("REGREFINE_DATA", ROOT.parent / "shared" / "data"))
CARDIAC_SPACING = (1.25, 1.25, 10.0)


@dataclass(frozen=True, eq=False)
class Case:
    """A pair with labels and what a user would set for such images."""

    name: str
    fixed: Volume
    moving: Volume
    fixed_labels: Volume
    moving_labels: Volume
    affine: str
    intensity: str = "minmax"

    def reversed(self) -> Case:
        """Return the case with fixed and moving exchanged."""
        return Case(
            f"{self.name} reversed",
            self.moving,
            self.fixed,
            self.moving_labels,
            self.fixed_labels,
            self.affine,
            self.intensity,
        )


def brain_vxm() -> Iterator[Case]:
    """One pair of affinely aligned T1 brains, 30 structures."""
    folder = DATA / "brain_vxm"
    with np.load(folder / "labels.npz") as archive:
        kept = archive[archive.files[0]]
    with np.load(folder / "test_scan.npz") as a:
        fixed, fixed_labels = a["vol"], a["seg"]
    parts = {}
    for part in ("vol", "seg"):
        with np.load(folder / f"l2r2019_subject_1_{part}.npz") as archive:
            parts[part] = archive["vol_data"]
    grid = Geometry.from_parts(fixed.shape, (1, 1, 1), np.eye(3), (0, 0, 0))

    def labels(array: np.ndarray) -> Volume:
        return Volume(np.where(np.isin(array, kept), array, 0).astype(np.int32), grid)

    case = Case(
        "brain_vxm",
        Volume(fixed.astype(np.float32), grid),
        Volume(parts["vol"].astype(np.float32), grid),
        labels(fixed_labels),
        labels(parts["seg"]),
        "none",
    )
    yield case
    yield case.reversed()


def brain_oasis20(pairs: int = 3) -> Iterator[Case]:
    """Pairs of skull-stripped T1 brains in native space, up to 138 structures."""
    folder = DATA / "brain_oasis20"
    names = sorted(path.name[:4] for path in folder.glob("*_SS.nii.gz"))
    for a, b in list(zip(names[::2], names[1::2], strict=False))[:pairs]:
        yield Case(
            f"oasis {a}<-{b}",
            *_files(folder, (f"{a}_SS", f"{b}_SS", f"{a}_glm", f"{b}_glm")),
            "affine",
        )


def cardiac_mms(subjects: int = 4) -> Iterator[Case]:
    """Cine MR: end-systole (moving) onto end-diastole; the headers' spacing is not the truth."""
    folder = DATA / "cardiac_mms"
    found = sorted(p for p in folder.rglob("ED_*") if "_gt" not in p.name)
    for path in found[:subjects]:
        end_systole = path.with_name(path.name.replace("ED_", "ES_", 1))
        names = [path, end_systole, _truth(path), _truth(end_systole)]
        volumes = [read_volume(n) for n in names[:2]] + [read_labels(n).volume for n in names[2:]]
        grid = Geometry.from_parts(volumes[0].array.shape, CARDIAC_SPACING, np.eye(3), (0, 0, 0))
        moved = [Volume(v.array, grid) for v in volumes]
        yield Case(f"cardiac {path.name.split('.')[0]}", *moved, "none")


def hippocampus(pairs: int = 4) -> Iterator[Case]:
    """Crops of T1 MR about the hippocampus, two labels."""
    folder = DATA / "hippocampus_msd"
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    for a, b in list(zip(names[::2], names[1::2], strict=False))[:pairs]:
        volumes = [read_volume(folder / "images" / n) for n in (a, b)]
        labels = [read_labels(folder / "labels" / n).volume for n in (a, b)]
        yield Case(f"hippocampus {a[12:15]}<-{b[12:15]}", *volumes, *labels, "none")


def torso_ct() -> Iterator[Case]:
    """Abdomen and chest CT of two people; only the upper abdomen is in both."""
    folder = DATA / "torso_ct"
    names = ("abdomen_ct", "chest_ct", "abdomen_ct_labels", "chest_ct_labels")
    yield Case("torso", *_files(folder, names), "centre+affine", "ct")


def lung_ct() -> Iterator[Case]:
    """One patient, baseline and follow-up, lung masks."""
    folder = DATA / "lung_ct"
    images = sorted(p for p in folder.iterdir() if "mask" not in p.name and _is_image(p))
    masks = sorted(p for p in folder.iterdir() if "mask" in p.name and _is_image(p))
    volumes = [read_volume(p) for p in images] + [read_labels(p).volume for p in masks]
    yield Case("lung", *volumes, "affine", "ct")


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "brain_vxm": brain_vxm,
    "brain_oasis20": brain_oasis20,
    "cardiac_mms": cardiac_mms,
    "hippocampus": hippocampus,
    "torso_ct": torso_ct,
    "lung_ct": lung_ct,
}


def _files(folder: Path, names: tuple[str, ...]) -> list[Volume]:
    paths = [folder / f"{name}.nii.gz" for name in names]
    return [read_volume(p) for p in paths[:2]] + [read_labels(p).volume for p in paths[2:]]


def _truth(path: Path) -> Path:
    stem, _, ending = path.name.partition(".")
    return path.with_name(f"{stem}_gt.{ending}")


def _is_image(path: Path) -> bool:
    return path.name.endswith((".nii.gz", ".mha", ".nrrd", ".nii"))
