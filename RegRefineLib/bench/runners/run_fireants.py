"""FireANTs (Jena et al. 2024), greedy, through its documented interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write the warp as FireANTs saves it for ANTs: a field in ITK's frame and direction."""
    from importlib.metadata import version

    import torch
    from fireants.io import BatchedImages, Image
    from fireants.io.imagemask import apply_mask_to_image, generate_image_mask_allones
    from fireants.registration.greedy import GreedyRegistration

    torch.set_num_threads(task.threads)
    images = [Image.load_file(path, device="cpu") for path in (task.fixed, task.moving)]
    options = dict(task.settings)
    alike = images[0].array.shape == images[1].array.shape  # the masked loss fails on others
    if task.moving_mask and alike:  # it takes a mask of each image as the last channel
        mask = Image.load_file(task.moving_mask, device="cpu")
        masks = [generate_image_mask_allones(images[0]), mask]
        images = [apply_mask_to_image(*both) for both in zip(images, masks, strict=True)]
        options["loss_type"] = f"masked_{options.get('loss_type', 'cc')}"
    fixed, moving = (BatchedImages([image]) for image in images)
    with task.work():
        found = GreedyRegistration(fixed_images=fixed, moving_images=moving, **options)
        found.optimize()
    task.field += ".gz"
    found.save_as_ants_transforms(task.field)
    return {"fireants": version("fireants"), "torch": torch.__version__}


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
