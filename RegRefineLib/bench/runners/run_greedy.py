"""Greedy (Yushkevich) through the package picsl-greedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write Greedy's warp, which is a field in ITK's frame and direction already."""
    from importlib.metadata import version

    from picsl_greedy import Greedy3D

    words = {"metric": "NCC 2x2x2", "iterations": "100x50x10", "smoothing": "", **task.settings}
    smoothing = f"-s {words['smoothing']}" if words["smoothing"] else ""
    with task.work():
        Greedy3D().execute(
            f"-threads {task.threads} -m {words['metric']} -i {task.fixed} {task.moving} "
            f"-n {words['iterations']} {smoothing} -o {task.field}"
        )
    return {"picsl_greedy": version("picsl_greedy")}


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
