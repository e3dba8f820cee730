"""SyN (Avants et al. 2008) through the package antspyx, its deformable stage alone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write SyN's forward warp, which is a field in ITK's frame and direction already."""
    from importlib.metadata import version

    import ants

    fixed, moving = ants.image_read(task.fixed), ants.image_read(task.moving)
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in task.settings.items()
    }
    if task.moving_mask:
        options |= {"moving_mask": ants.image_read(task.moving_mask), "mask_all_stages": True}
    with task.work():
        found = ants.registration(
            fixed,
            moving,
            type_of_transform="SyNOnly",
            initial_transform="identity",
            outprefix=f"{task.folder}/syn",
            **options,
        )
    warps = [path for path in found["fwdtransforms"] if path.endswith("Warp.nii.gz")]
    task.field += ".gz"
    shutil.move(warps[0], task.field)
    return {"antspyx": version("antspyx")}


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
