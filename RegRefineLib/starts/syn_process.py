"""The process that runs SyN: `python -m RegRefineLib.starts.syn_process FOLDER`.

The only file that knows antspyx. It reads fixed.npy, moving.npy, masks if there are any, and
job.json from the folder and writes displacement.npy there: (D, H, W, 3) in voxels, component c
along array axis c, fixed voxel x -> moving x + u(x).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def run(folder: Path) -> None:
    """Register the folder's images and write the displacement."""
    import ants

    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    spacing = [float(s) for s in job["spacing"]]

    def image(name: str) -> Any:
        path = folder / f"{name}.npy"
        # the array's first axis is ANTs' x; without a direction, components follow the axes
        return ants.from_numpy(np.load(path), spacing=spacing) if path.exists() else None

    fixed, moving = image("fixed"), image("moving")
    registered = ants.registration(
        fixed,
        moving,
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        outprefix=str(folder / "syn_"),
        mask=image("fixed_mask"),
        moving_mask=image("moving_mask"),
        mask_all_stages=True,
        syn_metric=job["metric"],
        syn_sampling=job["sampling"],
        reg_iterations=tuple(job["iterations"]),
        grad_step=job["gradient_step"],
        flow_sigma=job["flow_sigma"],
        total_sigma=job["total_sigma"],
        random_seed=job["seed"],
    )
    # one field in mm from all that was found
    path = ants.apply_transforms(
        fixed, moving, registered["fwdtransforms"], compose=str(folder / "whole_")
    )
    vectors = ants.image_read(path).numpy()
    np.save(folder / "displacement.npy", (vectors / spacing).astype(np.float32))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
