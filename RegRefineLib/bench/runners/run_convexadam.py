"""ConvexAdam (Siebert et al. 2021) with MIND features, through the package convexAdam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write ConvexAdam's displacement, which is in voxels along the array's axes.

    Its masks need even sizes: then images of odd ones are longer by their border repeated once.
    """
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
    shape = images[0].shape
    masks = {}
    if task.moving_mask:
        images = [evened(image) for image in images]
        masks = _masks(task, images[0].shape)
    with task.work():
        found = convex_adam_pt(
            img_fixed=images[0],
            img_moving=images[1],
            device=torch.device("cpu"),
            dtype=torch.float32,
            **masks,
            **task.settings,
        )
    write_voxels(found[: shape[0], : shape[1], : shape[2]], task)
    return {"convexAdam": version("convexAdam"), "torch": torch.__version__}


def evened(array: Any) -> Any:
    """Return the array with the last slice repeated along each axis of odd size."""
    import numpy as np

    return np.pad(array, [(0, n % 2) for n in array.shape], mode="edge")


def _masks(task: Task, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments with masks as files whose arrays lie as the images' here do."""
    import nibabel
    import numpy as np
    import SimpleITK as sitk

    moving = evened(sitk.GetArrayFromImage(sitk.ReadImage(task.moving_mask)))
    arguments: dict[str, Any] = {"use_mask": True}
    for name, array in (("fixed", np.ones(shape)), ("moving", moving)):
        path = f"{task.folder}/{name}_mask.nii"
        nibabel.save(nibabel.Nifti1Image(array.astype(np.uint8), np.eye(4)), path)
        arguments[f"path_{name}_mask"] = path
    return arguments


if __name__ == "__main__":
    from task import perform

    perform(register)
