"""What all runner scripts share: reading the task, timing it and writing the field.

Runners run in the peers' environments, so this file needs the standard library alone, and
SimpleITK where a field has to be written. A field is an image of LPS mm vectors on the fixed
image's grid: the fixed point x lies at the moving point x + u(x), ITK's resampling direction.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Task:
    """One registration.

    Attributes:
        fixed, moving: NIfTI files of both images on one grid, already affinely aligned.
        field: the file to write the displacement to.
        folder: an empty folder for whatever else is written.
        threads: how many the tool may use.
        settings: the tool's, from its row in tools.py or from the cases' variants.
        intensity: what kind of intensities the images have (job.INTENSITIES).
        moving_mask: a NIfTI file on the same grid, 1 in the moving image's field of view; "": all.
        seconds: CPU and wall seconds of the registration itself, without imports, reading, writing.
    """

    fixed: str
    moving: str
    field: str
    folder: str
    threads: int = 2
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    intensity: str = "minmax"
    moving_mask: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Time the block: the registration itself."""
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.seconds["work_cpu_s"] = time.process_time() - cpu
            self.seconds["work_wall_s"] = time.perf_counter() - wall


def perform(register: Callable[[Task], dict[str, str]]) -> None:
    """Run `register` on the task whose file the first argument names; write what it reports.

    `register` writes the field and returns versions of what it used.
    """
    path = Path(sys.argv[1])
    task = Task(**json.loads(path.read_text(encoding="utf-8")))
    versions = register(task)
    report = {"versions": versions, "field": task.field, **task.seconds}
    path.with_name("report.json").write_text(json.dumps(report), encoding="utf-8")


def vectors_lps(displacement: Any, spacing: Any, direction: Any) -> Any:
    """Return vectors (k,j,i,3) in LPS mm of displacements in voxels (k,j,i,3) along (k,j,i).

    Args:
        spacing, direction: the fixed image's as SimpleITK gives them.
    """
    import numpy as np

    matrix = np.asarray(direction).reshape(3, 3) * np.asarray(spacing)
    return np.asarray(displacement)[..., ::-1] @ matrix.T


def write_voxels(displacement: Any, task: Task) -> None:
    """Write a field given in voxels (k,j,i,3) along (k,j,i), numpy order of the fixed image."""
    import numpy as np
    import SimpleITK as sitk

    fixed = sitk.ReadImage(task.fixed)
    vectors = vectors_lps(displacement, fixed.GetSpacing(), fixed.GetDirection())
    image = sitk.GetImageFromArray(vectors.astype(np.float32), isVector=True)
    image.CopyInformation(fixed)
    sitk.WriteImage(image, task.field)
