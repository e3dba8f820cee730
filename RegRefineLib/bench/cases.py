"""The pairs of a benchmark, from one JSON file, and their volumes.

{"format": 1,
 "sets": {NAME: {
    "fixed", "moving", "fixed_labels", "moving_labels": paths under the data root, where {0},
        {1} ... are the words of a pair; FILE.npz:KEY is an array of a numpy archive,
    "fixed_landmarks", "moving_landmarks": likewise, optional,
    "name": likewise, what a pair is called,
    "pairs": [[word, word, ...], ...],
    "labels": the ids that are judged (all without), "affine": kind or none,
    "intensity": of job.INTENSITIES, "contrast": of CONTRASTS, done to the moving image,
    "spacing": mm (i,j,k) where the file's header is not the truth,
    "orientation": the directions in which i, j, k grow, such as "LIA", where no header has them}},
 "variants": {NAME: {"tool": a tool, "settings": those that change, "align", "mask": false}},
 "ablation": [names of variants of `default`, each without one ingredient],
 "curves": {NAME: [tools and variants of growing budget]}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RegRefineError
from ..geometry import FloatArray, Geometry, Volume
from ..io.landmarks import read_landmarks
from ..io.volumes import read_labels, read_volume
from ..job import AFFINES, INTENSITIES
from .tools import TOOLS

_PATHS = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
_OTHERS = {"name", "pairs", "labels", "affine", "intensity", "contrast", "spacing", "orientation"}


def _inverted(shares: FloatArray) -> FloatArray:
    return np.where(shares > 0, 1.0 - 0.95 * shares, 0.0)


def _t2(shares: FloatArray) -> FloatArray:
    return np.where(shares > 0, np.exp(-3.0 * shares), 0.0)


def _reordered(shares: FloatArray) -> FloatArray:
    return np.interp(shares, (0.0, 0.3, 0.65, 0.9, 1.0), (0.0, 0.15, 1.0, 0.6, 0.5))


# name -> intensities as shares of their 99.5th percentile, in [0, 1], to another contrast
CONTRASTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "inverted": _inverted,  # fluid brightest, white matter darkest, as T2 shows a T1 brain
    "t2": _t2,  # the same order, but fluid stands far out and the tissues lie close together
    "reordered": _reordered,  # grey matter brightest, then white matter: not monotonic
}
_AXES = {
    letter: sign * np.eye(3)[axis]
    for axis, pair in enumerate(("RL", "AP", "SI"))
    for letter, sign in zip(pair, (1.0, -1.0), strict=True)
}


def cases_file(given: str | None) -> Path:
    """Return the JSON of cases: the given one, or else the one in this package."""
    return Path(given) if given else Path(__file__).resolve().parent / "cases.json"


@dataclass(frozen=True)
class Case:
    """One pair.

    Attributes:
        fixed, moving, ...: paths, with :KEY for an array of an archive.
        labels: the ids that are judged; None: all.
        affine: the initial alignment (job.AFFINES).
        spacing: mm (i,j,k) in place of the header's; then directions are dropped as well.
        orientation: letters of the directions of i, j, k (of R L A P S I) of what has no header.
    """

    set_name: str
    name: str
    fixed: str
    moving: str
    fixed_labels: str = ""
    moving_labels: str = ""
    fixed_landmarks: str = ""
    moving_landmarks: str = ""
    labels: tuple[int, ...] | None = None
    affine: str = "none"
    intensity: str = "minmax"
    contrast: str = ""
    spacing: tuple[float, float, float] | None = None
    orientation: str = "RAS"

    def images(self) -> tuple[Volume, Volume]:
        """Return the fixed and the moving image."""
        fixed, moving = (self._volume(path) for path in (self.fixed, self.moving))
        return fixed, contrasted(moving, self.contrast) if self.contrast else moving

    def label_maps(self) -> tuple[Volume, Volume] | None:
        """Return both label maps with the judged labels alone, or None where there are none."""
        if not self.fixed_labels:
            return None
        fixed, moving = (self._labels(p) for p in (self.fixed_labels, self.moving_labels))
        return fixed, moving

    def landmarks(self) -> tuple[FloatArray, FloatArray] | None:
        """Return corresponding points (n, 3) in RAS mm, or None."""
        if not self.fixed_landmarks:
            return None
        fixed, moving = (
            read_landmarks(path)[1] for path in (self.fixed_landmarks, self.moving_landmarks)
        )
        return fixed, moving

    def _volume(self, path: str) -> Volume:
        array = _archived(path)
        return self._placed(read_volume(path) if array is None else array)

    def _labels(self, path: str) -> Volume:
        array = _archived(path)
        volume = self._placed(read_labels(path).volume if array is None else array)
        labels = volume.array.astype(np.int32)
        if self.labels is not None:
            labels = np.where(np.isin(labels, self.labels), labels, 0)
        return Volume(labels, volume.geometry)

    def _placed(self, found: Volume | np.ndarray) -> Volume:
        if isinstance(found, Volume) and self.spacing is None:
            return found
        array = found.array if isinstance(found, Volume) else found
        spacing = self.spacing or (1.0, 1.0, 1.0)
        axes = np.stack([_AXES[letter] for letter in self.orientation], axis=1)
        return Volume(array, Geometry.from_parts(array.shape, spacing, axes, (0, 0, 0)))


def check_files(cases: Sequence[Case], data: Path) -> None:
    """Refuse a folder of scans in which files of the cases are missing.

    Raises:
        RegRefineError: it names the first of them, and the folder.
    """
    paths = [path for case in cases for name in _PATHS if (path := getattr(case, name))]
    files = dict.fromkeys(re.sub(r"(\.npz):[^:]*$", r"\1", path) for path in paths)
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise RegRefineError(
            f"--data: {len(missing)} of {len(files)} files are not in {data}, such as "
            f"{missing[0]}; name the folder of the scans, or with --sets the sets that are there"
        )


def contrasted(volume: Volume, name: str) -> Volume:
    """Return the volume (float32, in [0, 1]) in another contrast; its zeros stay zeros."""
    high = float(np.percentile(volume.array[volume.array > 0], 99.5))
    shares = np.clip(volume.array / high, 0.0, 1.0)
    return Volume(CONTRASTS[name](shares).astype(np.float32), volume.geometry)


def _archived(path: str) -> np.ndarray | None:
    file, colon, key = path.rpartition(":")
    if not colon or not file.endswith(".npz"):
        return None
    with np.load(file) as archive:
        array = archive[key]
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def read_cases(path: Path, data: Path) -> tuple[dict[str, list[Case]], dict[str, Mapping]]:
    """Return the cases by set, in the file's order, and the variants of tools by name.

    Raises:
        RegRefineError: no such file, not the JSON described above.
    """
    content = _content(path)
    try:
        sets = {name: _cases(name, row, data) for name, row in content["sets"].items()}
        return sets, dict(content.get("variants", {}))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RegRefineError(f"--cases: {path} is not a JSON of cases: {error!r}") from error


def read_groups(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the ablation's variants, and those of each curve by the curve's name.

    Raises:
        RegRefineError: as `read_cases`, or a name there is neither a tool's nor a variant's.
    """
    content = _content(path)
    try:
        ablation = list(content.get("ablation", []))
        curves = {name: list(names) for name, names in content.get("curves", {}).items()}
        known = {*TOOLS, *content.get("variants", {})}
    except (TypeError, AttributeError) as error:
        raise RegRefineError(f"--cases: {path} is not a JSON of cases: {error!r}") from error
    for name in (*ablation, *(each for names in curves.values() for each in names)):
        if name not in known:
            raise RegRefineError(f"--cases: {name!r} is neither a tool nor one of the variants")
    return ablation, curves


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegRefineError(f"--cases: {path} cannot be read; name a JSON of cases") from error
    except ValueError as error:
        raise RegRefineError(f"--cases: {path} is not a JSON of cases") from error
    if not isinstance(content, dict):
        raise RegRefineError(f"--cases: {path} is not a JSON of cases: no table of sets")
    return content


def _cases(set_name: str, row: Mapping[str, Any], data: Path) -> list[Case]:
    unknown = set(row) - set(_PATHS) - _OTHERS
    if unknown:
        raise RegRefineError(f"--cases: set {set_name}: unknown {', '.join(sorted(unknown))}")
    for name, allowed in (
        ("affine", AFFINES),
        ("intensity", INTENSITIES),
        ("contrast", tuple(CONTRASTS)),
    ):
        if name in row and row[name] not in allowed:
            raise RegRefineError(
                f"--cases: set {set_name}: {name} is one of {', '.join(allowed)}, got {row[name]!r}"
            )
    return [_case(set_name, row, words, data) for words in row["pairs"]]


def _case(set_name: str, row: Mapping[str, Any], words: Sequence[str], data: Path) -> Case:
    paths = {name: str(data / row[name].format(*words)) for name in _PATHS if row.get(name)}
    return Case(
        set_name,
        f"{set_name} {row.get('name', '{0}').format(*words)}",
        **paths,
        labels=tuple(row["labels"]) if row.get("labels") else None,
        affine=row.get("affine", "none"),
        intensity=row.get("intensity", "minmax"),
        contrast=row.get("contrast", ""),
        spacing=tuple(row["spacing"]) if row.get("spacing") else None,
        orientation=_orientation(set_name, row.get("orientation", "RAS")),
    )


def _orientation(set_name: str, letters: str) -> str:
    axes = sorted("RAS".find(letter) % 3 if letter in "RAS" else "LPI".find(letter)
                  for letter in str(letters))  # fmt: skip
    if axes != [0, 1, 2]:
        raise RegRefineError(
            f"--cases: set {set_name}: orientation is three letters such as LIA, got {letters!r}"
        )
    return str(letters)
