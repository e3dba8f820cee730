"""The sample data of the tutorial: two MR scans of one patient, of Slicer's own sample data.

Addresses and checksums are those under which Slicer itself registers MRBrainTumor1 and
MRBrainTumor2 (Modules/Scripted/SampleData/SampleData.py), so one download serves both modules.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

ADDRESS = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
CATEGORY = "RegRefine"


class Scan(NamedTuple):
    """A file of the sample: Slicer's name for it, the node's name and the SHA-256."""

    fileName: str
    nodeName: str
    sha256: str


SCANS = (
    Scan(
        "RegLib_C01_1.nrrd",
        "MRBrainTumor1",
        "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95",
    ),
    Scan(
        "RegLib_C01_2.nrrd",
        "MRBrainTumor2",
        "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97",
    ),
)
PAIR = "RegRefineBrainTumor"


def register(logic: Any, thumbnail: Path, title: str) -> None:
    """Register the pair with Slicer's sample data module.

    Args:
        logic: the class SampleData.SampleDataLogic.
        title: the category's, for people.
    """
    if hasattr(logic, "registerCustomSampleDataCategory"):  # 5.11 and later
        logic.registerCustomSampleDataCategory(CATEGORY, title=title)
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PAIR,
        thumbnailFileName=str(thumbnail),
        uris=[ADDRESS + scan.sha256 for scan in SCANS],
        fileNames=[scan.fileName for scan in SCANS],
        checksums=[f"SHA256:{scan.sha256}" for scan in SCANS],
        nodeNames=[scan.nodeName for scan in SCANS],
    )
