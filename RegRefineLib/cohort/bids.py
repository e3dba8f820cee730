"""A BIDS folder as a manifest: `sub-X[/ses-Y]/anat/sub-X[_ses-Y]_..._SUFFIX.nii[.gz]`.

No more of BIDS than that is read: one image of the suffix (T1w) for each subject and session, and
participants.tsv, whose column `group` is taken where it is there.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from .manifest import Manifest, ManifestError, Scan

_NAME = re.compile(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9]+)*_(\w+)")


def read_bids(folder: Path, suffix: str = "T1w") -> Manifest:
    """Return the scans of a BIDS folder; their ids are `sub-X` or `sub-X_ses-Y`.

    Raises:
        ManifestError: no image of that suffix, or two for one subject and session.
    """
    groups = _groups(folder)
    found: dict[str, list[Path]] = {}
    for pattern in ("sub-*/anat", "sub-*/ses-*/anat"):
        for path in sorted(folder.glob(f"{pattern}/*_{suffix}.nii*")):
            match = _NAME.fullmatch(path.name.split(".")[0])
            if match and match[3] == suffix and path.name.endswith((".nii", ".nii.gz")):
                name = "_".join(part for part in match.groups()[:2] if part)
                found.setdefault(name, []).append(path)
    if not found:
        raise ManifestError(
            [f"{folder}: no sub-*/[ses-*/]anat/*_{suffix}.nii.gz; name a CSV or TSV manifest"]
        )
    twice = [f"{folder}: {n} has {len(p)} images {suffix}: {p[0].name}, {p[1].name}; name one each "
             "in a CSV manifest" for n, p in found.items() if len(p) > 1]  # fmt: skip
    if twice:
        raise ManifestError(twice)
    scans = {}
    for name, paths in sorted(found.items()):
        subject, _, session = name.partition("_")
        group = groups.get(subject, "")
        scans[name] = Scan(name, str(paths[0].absolute()), session=session, group=group)
    return Manifest(folder, scans, is_bids=True)


def _groups(folder: Path) -> dict[str, str]:
    """Return the column `group` of participants.tsv by participant, where there is one."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {r.get("participant_id") or "": r.get("group") or "" for r in rows}
