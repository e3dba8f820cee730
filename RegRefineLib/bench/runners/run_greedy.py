"""Greedy (Yushkevich) through the package picsl-greedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task

LEAST = 4  # voxels along every axis of the coarsest level, or Greedy's smoothing fails


def register(task: Task) -> dict[str, str]:
    """Write Greedy's warp, which is a field in ITK's frame and direction already.

    Short-axis stacks have too few slices for its levels: their outermost slices are repeated
    beforehand, and the field is cut to the image again. The mask is given as the fixed image's
    (-gm) and the moving one's (-mm): on torso_ct Dice .471; as -mm alone .462, without .470.
    """
    from importlib.metadata import version

    import SimpleITK as sitk
    from picsl_greedy import Greedy3D

    words = {"metric": "NCC 2x2x2", "iterations": "100x50x10", "smoothing": "", **task.settings}
    smoothing = f"-s {words['smoothing']}" if words["smoothing"] else ""
    fixed, moving = (sitk.ReadImage(path) for path in (task.fixed, task.moving))
    levels = str(words["iterations"]).count("x") + 1
    margins = margins_of(fixed.GetSize(), LEAST * 2 ** (levels - 1))
    size = fixed.GetSize()
    images = {"fixed": padded(fixed, margins), "moving": padded(moving, margins)}
    masked = ""
    if task.moving_mask:
        images["mask"] = padded(sitk.ReadImage(task.moving_mask), margins)
        masked = "-gm mask -mm mask"
    with task.work():
        Greedy3D().execute(
            f"-threads {task.threads} -m {words['metric']} -i fixed moving {masked} "
            f"-n {words['iterations']} {smoothing} -o {task.field}",
            **images,
        )
    if any(low + high for low, high in margins):
        field = sitk.ReadImage(task.field)
        cut = sitk.RegionOfInterest(field, size, [low for low, _ in margins])
        sitk.WriteImage(cut, task.field)
    return {"picsl_greedy": version("picsl_greedy")}


def margins_of(size: tuple[int, ...], least: int) -> list[tuple[int, int]]:
    """Return how many voxels to add before and after along each axis to have at least `least`."""
    missing = [max(0, least - n) for n in size]
    return [(n // 2, n - n // 2) for n in missing]


def padded(image: Any, margins: list[tuple[int, int]]) -> Any:
    """Return the SimpleITK image with its border repeated."""
    import SimpleITK as sitk

    low, high = ([margin[side] for margin in margins] for side in (0, 1))
    return sitk.ZeroFluxNeumannPad(image, low, high)


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
