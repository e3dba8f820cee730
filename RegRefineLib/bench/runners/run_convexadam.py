"""ConvexAdam (Siebert et al. 2021) with MIND features, through the package convexAdam."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write ConvexAdam's displacement, which is in voxels along the array's axes."""
    from importlib.metadata import version

    import numpy as np
    import SimpleITK as sitk
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt
    from task import write_voxels  # type: ignore[import-not-found]

    torch.set_num_threads(task.threads)
    images = [
        sitk.GetArrayFromImage(sitk.ReadImage(path)).astype(np.float32)
        for path in (task.fixed, task.moving)
    ]
    with task.work():
        found = convex_adam_pt(
            img_fixed=images[0],
            img_moving=images[1],
            device=torch.device("cpu"),
            dtype=torch.float32,
            **task.settings,
        )
    write_voxels(found, task)
    return {"convexAdam": version("convexAdam"), "torch": torch.__version__}


if __name__ == "__main__":
    from task import perform

    perform(register)
