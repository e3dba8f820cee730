"""A cohort of small scans on disk, and jobs that take a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from RegRefineLib.geometry import Volume
from RegRefineLib.io.volumes import write_labels, write_volume
from RegRefineLib.job import Job
from support.small import bend, grid, image_on, labels_on

GRID = grid((16, 14, 18), (2.5, 2.5, 2.5))
QUICK = Job(affine="none", device="cpu", settings={"levels": "2:10 1:5", "small_steps": 0})
QUICK_WORDS = ("--affine", "none", "--device", "cpu", "--set", "levels=2:10 1:5",
               "--set", "small_steps=0")  # fmt: skip


def write_scans(folder: Path, count: int = 4, *, labels: bool = True) -> Path:
    """Write scans that differ by a known bend, and their manifest; return its path."""
    rows = ["id,image,labels,group"]
    for number in range(count):
        size = 1.5 * number

        def mapping(points, size=size):
            return points + bend(points, size)

        image = image_on(GRID, mapping).array + np.float32(0.001 * number)
        write_volume(Volume(image, GRID), folder / f"s{number}.nii.gz")
        name = f"s{number}_labels.nii.gz" if labels else ""
        if labels:
            write_labels(labels_on(GRID, mapping), folder / name)
        rows.append(f"s{number},s{number}.nii.gz,{name},{'ab'[number % 2]}")
    path = folder / "scans.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
