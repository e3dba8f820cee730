"""The table that names a cohort's scans: CSV or TSV with a header, or a BIDS folder.

One row is one scan: `id, image` and, as wanted, `mask, labels, landmarks, session, group, weight,
initial`; or one row is one pair: `fixed, moving` and their `_mask, _labels, _landmarks`. Paths are
relative to the manifest. Everything that is wrong with it is collected, a line each.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RegRefineError

FILES = ("image", "mask", "labels", "landmarks", "initial")
SCAN_COLUMNS = ("id", *FILES, "session", "group", "weight")
_OF_IMAGE = ("mask", "labels", "landmarks")
PAIR_COLUMNS = (
    *("id", "fixed", "moving", "initial"),
    *(f"{side}_{name}" for side in ("fixed", "moving") for name in _OF_IMAGE),
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ManifestError(RegRefineError):
    """What is wrong with a manifest, a sentence for each fault in `problems`."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        more = len(self.problems) - 1
        super().__init__(self.problems[0] + (f" (and {more} more)" if more > 0 else ""))


@dataclass(frozen=True)
class Scan:
    """A row of a manifest of scans.

    Attributes:
        id: unique in the manifest, and fit for a file's name.
        image, mask, labels, landmarks: files; "" where there is none.
        initial: a transform's file, template or target points to this scan's.
        weight: of the scan in averages.
        row: the line of the manifest, for messages.
    """

    id: str
    image: str
    mask: str = ""
    labels: str = ""
    landmarks: str = ""
    initial: str = ""
    session: str = ""
    group: str = ""
    weight: float = 1.0
    row: int = 0

    def files(self) -> dict[str, str]:
        """Return the files that are named, by role."""
        return {role: path for role in FILES if (path := getattr(self, role))}


@dataclass(frozen=True)
class Pair:
    """Two scans to register: the moving one is brought onto the fixed one."""

    fixed: str
    moving: str
    initial: str = ""


@dataclass(frozen=True)
class Manifest:
    """The scans by id, and the pairs where the manifest names pairs."""

    path: Path
    scans: Mapping[str, Scan]
    pairs: tuple[Pair, ...] = ()
    is_bids: bool = False
    notes: tuple[str, ...] = field(default=())


def read_manifest(path: str | Path) -> Manifest:
    """Return what a CSV or TSV file names; the scans' files are looked at by checks.py.

    Raises:
        ManifestError: not a table, columns missing or unknown, ids twice or unfit, bad weights.
    """
    path = Path(path)
    if path.is_dir():
        from .bids import read_bids

        return read_bids(path)
    head, rows = _table(path)
    is_pairs = "fixed" in head or "moving" in head
    known = PAIR_COLUMNS if is_pairs else SCAN_COLUMNS
    needed = ("fixed", "moving") if is_pairs else ("id", "image")
    missing = [name for name in needed if name not in head]
    unknown = [name for name in head if name not in known]
    twice = sorted({name for name in head if head.count(name) > 1})
    problems = []
    if missing:
        problems.append(f"{path}: no column {', '.join(missing)}; the header is {', '.join(head)}")
    elif unknown:
        problems.append(
            f"{path}: unknown column {', '.join(unknown)}; known are {', '.join(known)}"
        )
    if twice:
        problems.append(f"{path}: column {', '.join(twice)} is there twice")
    if problems:
        raise ManifestError(problems)
    reader = _Pairs(path) if is_pairs else _Scans(path)
    for number, cells in rows:
        if len(cells) != len(head):
            reader.problems.append(
                f"{path}: line {number} has {len(cells)} cells, the header {len(head)}"
            )
        else:
            reader.add(number, dict(zip(head, (cell.strip() for cell in cells), strict=True)))
    if reader.problems:
        raise ManifestError(reader.problems)
    if not reader.scans:
        raise ManifestError([f"{path}: no rows below the header"])
    return Manifest(path, reader.scans, tuple(reader.pairs))


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, lower case, and the rows that are not empty with their line numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError([f"{path}: cannot be read; name a CSV, TSV or BIDS folder"]) from error
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: is not UTF-8 text; save it as CSV UTF-8"]) from error
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if not first.strip():
        raise ManifestError([f"{path}: is empty; a header and a row for each scan are needed"])
    mark = max("\t,;", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except csv.Error as error:
        raise ManifestError([f"{path}: is not a CSV or TSV table: {error}"]) from error
    rows = [(n, cells) for n, cells in enumerate(lines, 1) if any(c.strip() for c in cells)]
    return [cell.strip().lower() for cell in rows[0][1]], rows[1:]


class _Scans:
    """Rows of scans, and what is wrong with them."""

    def __init__(self, path: Path):
        self.path, self.folder = path, path.absolute().parent
        self.scans: dict[str, Scan] = {}
        self.pairs: list[Pair] = []
        self.problems: list[str] = []

    def add(self, number: int, cells: Mapping[str, str]) -> None:
        """Take a row."""
        place = f"{self.path}: line {number}"
        name = cells["id"]
        if not _ID.fullmatch(name):
            self.problems.append(
                f"{place}: id {name!r}: letters, digits, dot, dash and underscore are needed"
            )
            return
        # file systems that do not tell upper from lower case would put both into one folder
        same = next((s for s in self.scans.values() if s.id.lower() == name.lower()), None)
        if same:
            self.problems.append(f"{place}: id {name!r} is there twice (line {same.row})")
            return
        if not cells["image"]:
            self.problems.append(f"{place}: {name} has no image")
            return
        weight = _weight(cells.get("weight", ""))
        if weight is None:
            self.problems.append(f"{place}: weight {cells['weight']!r}: a number above 0 is needed")
            return
        files = {role: self.absolute(cells.get(role, "")) for role in FILES}
        self.scans[name] = Scan(
            name,
            **files,
            session=cells.get("session", ""),
            group=cells.get("group", ""),
            weight=weight,
            row=number,
        )

    def absolute(self, text: str) -> str:
        """Return a path of the manifest as an absolute one; "" stays."""
        return str((self.folder / Path(text).expanduser()).absolute()) if text else ""


class _Pairs(_Scans):
    """Rows of pairs: each image that they name becomes a scan."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.by_image: dict[str, str] = {}

    def add(self, number: int, cells: Mapping[str, str]) -> None:
        """Take a row."""
        place = f"{self.path}: line {number}"
        empty = [side for side in ("fixed", "moving") if not cells[side]]
        if empty:
            self.problems.append(f"{place}: no {' and no '.join(empty)} image")
            return
        ids = [self._scan(number, side, cells) for side in ("fixed", "moving")]
        pair = Pair(ids[0], ids[1], self.absolute(cells.get("initial", "")))
        if pair.fixed == pair.moving:
            self.problems.append(f"{place}: fixed and moving are the same image")
        elif any((p.fixed, p.moving) == (pair.fixed, pair.moving) for p in self.pairs):
            self.problems.append(f"{place}: this pair is there twice")
        else:
            self.pairs.append(pair)

    def _scan(self, number: int, side: str, cells: Mapping[str, str]) -> str:
        """Return the id of the scan of an image, made where it is new."""
        image = self.absolute(cells[side])
        parts = {name: self.absolute(cells.get(f"{side}_{name}", "")) for name in _OF_IMAGE}
        if image in self.by_image:
            known = self.scans[self.by_image[image]]
            other = [n for n in _OF_IMAGE if parts[n] and getattr(known, n) != parts[n]]
            if other:
                self.problems.append(
                    f"{self.path}: line {number}: {cells[side]} has another {other[0]} "
                    f"than on line {known.row}"
                )
            return known.id
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(image).name.split(".")[0]).lstrip("._-")
        taken = {name.lower() for name in self.scans}
        name, count = stem or "scan", 2
        while name.lower() in taken:
            name, count = f"{stem or 'scan'}-{count}", count + 1
        self.by_image[image] = name
        self.scans[name] = Scan(
            name, image, parts["mask"], parts["labels"], parts["landmarks"], row=number
        )
        return name


def _weight(text: str) -> float | None:
    try:
        value = float(text) if text else 1.0
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
