"""RegRefine itself, as a process like any other tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write the field of one preset.

    Settings: `preset`, and as `job` any fields of Job, `settings` of the refinement among them.
    """
    from RegRefineLib import threads

    threads.prepare()
    import torch

    from RegRefineLib import memory
    from RegRefineLib.io.transforms import write_field
    from RegRefineLib.io.volumes import read_volume
    from RegRefineLib.job import Extras, Job
    from RegRefineLib.registration import register as run

    torch.set_num_threads(task.threads)
    memory.keep_freed_memory()
    fixed, moving = read_volume(task.fixed), read_volume(task.moving)
    mask = read_volume(task.moving_mask) if task.moving_mask else None
    job = {"affine": "none", "intensity": task.intensity, **task.settings.get("job", {})}
    with task.work():
        asked = Job(preset=task.settings["preset"], **job)
        result = run(fixed, moving, asked, extras=Extras(moving_mask=mask))
    write_field(result.field, task.field)
    return result.versions


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
