"""The files of a manifest, looked at before anything runs: there, whole, plausible, not twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import Geometry, Volume, sizes_text
from ..io.landmarks import read_landmarks
from ..io.paths import written_aside
from ..io.transforms import read_transform
from ..io.volumes import read_labels, read_volume
from .manifest import Manifest, ManifestError, Scan

# voxel edges and lengths of a block beyond which a header is taken for wrong, mm
SHORTEST_MM, LONGEST_MM, LARGEST_BLOCK_MM = 0.005, 60.0, 4000.0


@dataclass(frozen=True)
class Looked:
    """What was found in a scan's files.

    Attributes:
        hashes: SHA-256 of each file, by role.
        shape, spacing: of the image, (k, j, i) and mm (i, j, k).
        problems: sentences; none where all is well.
    """

    hashes: dict[str, str]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def voxels(self) -> int:
        """Number of voxels of the image."""
        return int(np.prod(self.shape)) if self.shape else 0


def check(
    manifest: Manifest, memory: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Looked]:
    """Return what the files of every scan hold.

    Args:
        memory: a JSON file in which what was looked at is kept; files that did not change since
            are not read again.
        say: told the scan that is read.

    Raises:
        ManifestError: a sentence for each file that is missing, damaged, implausible or there
            twice under two ids.
    """
    known = _remembered(memory)
    found, kept = {}, {}
    for scan in manifest.scans.values():
        stamp = _stamp(scan)
        before = known.get(stamp)
        if before is None:
            say(f"reading {scan.id}")
            before = look(scan)
        found[scan.id] = before
        if not before.problems:
            kept[stamp] = asdict(before)
    problems = [p for each in found.values() for p in each.problems]
    problems += _twins(manifest, found)
    if memory is not None:
        with written_aside(memory) as aside:
            aside.write_text(json.dumps(kept), encoding="utf-8")
    if problems:
        raise ManifestError(problems)
    return found


def look(scan: Scan) -> Looked:
    """Return the hashes of a scan's files, its image's grid and what is wrong."""
    hashes: dict[str, str] = {}
    problems = []
    for role, path in scan.files().items():
        if not Path(path).exists():
            problems.append(f"line {scan.row}: {scan.id}: {role} {path} is not there")
        else:
            hashes[role] = digest(Path(path))
    if problems:
        return Looked(hashes, problems=tuple(problems))
    try:
        image = read_volume(scan.image)
        problems += [f"line {scan.row}: {scan.id}: {text}" for text in _implausible(image)]
        problems += [f"line {scan.row}: {scan.id}: {text}" for text in _others(scan, image)]
    except RegRefineError as error:
        return Looked(hashes, problems=(f"line {scan.row}: {scan.id}: {error}",))
    spacing = tuple(float(edge) for edge in image.geometry.spacing)
    return Looked(hashes, image.geometry.shape, spacing, tuple(problems))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files of a folder (a DICOM series) in their order."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _implausible(image: Volume) -> list[str]:
    grid = image.geometry
    said = []
    if grid.spacing.min() < SHORTEST_MM or grid.spacing.max() > LONGEST_MM:
        edges = " x ".join(f"{edge:g}" for edge in grid.spacing)
        said.append(f"voxels of {edges} mm are implausible; mend the header")
    if max(n * edge for n, edge in zip(grid.shape[::-1], grid.spacing, strict=True)) > (
        LARGEST_BLOCK_MM
    ):
        said.append(f"a block of {sizes_text(grid.shape[::-1])} voxels is longer than 4 m")
    if image.array.min() == image.array.max():
        said.append("the image is the same everywhere")
    return said


def _others(scan: Scan, image: Volume) -> list[str]:
    """Return what is wrong with what comes with the image; a file that cannot be read raises."""
    said = []
    for role in ("mask", "labels"):
        path = getattr(scan, role)
        if not path:
            continue
        volume = read_labels(path).volume
        if not volume.array.any():
            said.append(f"{role} {path} is empty")
        if image.geometry.overlap(volume.geometry) == 0.0:
            said.append(f"{role} {path} does not overlap the image in space")
    if scan.landmarks:
        said += _landmarks(scan.landmarks, image.geometry)
    if scan.initial:
        read_transform(scan.initial, image.geometry)
    return said


def _landmarks(path: str, grid: Geometry) -> list[str]:
    points = read_landmarks(path)[1]
    index = grid.to_index(points)
    inside = ((index >= -0.5) & (index <= np.array(grid.shape[::-1]) - 0.5)).all(axis=1)
    return [] if inside.any() else [f"landmarks {path}: none lies inside the image"]


def _twins(manifest: Manifest, found: dict[str, Looked]) -> list[str]:
    """Return a sentence for each image that is there under two ids: it would count twice."""
    first: dict[str, Scan] = {}
    said = []
    for scan in manifest.scans.values():
        hashed = found[scan.id].hashes.get("image")
        if hashed is None:
            continue
        if hashed in first:
            said.append(
                f"line {scan.row}: {scan.id}: the same image as {first[hashed].id} "
                f"(line {first[hashed].row}); it would count twice"
            )
        else:
            first[hashed] = scan
    return said


def _stamp(scan: Scan) -> str:
    """Return what tells whether a scan's files were changed since they were read."""
    parts = []
    for role, path in scan.files().items():
        place = Path(path)
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in files:
            if file.is_file():
                status = file.stat()
                parts.append([role, str(file), status.st_size, status.st_mtime_ns])
            else:
                parts.append([role, str(file), -1, -1])
    return json.dumps(parts)


def _remembered(memory: Path | None) -> dict[str, Looked]:
    if memory is None or not memory.is_file():
        return {}
    try:
        rows = json.loads(memory.read_text(encoding="utf-8"))
        return {
            stamp: Looked(row["hashes"], tuple(row["shape"]), tuple(row["spacing"]))
            for stamp, row in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError):  # a cut file is read anew
        return {}
