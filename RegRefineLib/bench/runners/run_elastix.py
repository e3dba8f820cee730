"""elastix (Klein et al. 2010) through the package itk-elastix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


def register(task: Task) -> dict[str, str]:
    """Write transformix's deformation field, T(x) - x in LPS mm on the fixed grid.

    The mask is given as the fixed image's, where elastix draws its samples: as the moving one's
    its default parameters end in an error on torso_ct.
    """
    from importlib.metadata import version

    import itk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(task.threads)
    fixed, moving = itk.imread(task.fixed, itk.F), itk.imread(task.moving, itk.F)
    options = dict(task.settings)
    name = options.pop("map", "bspline")
    parameters = itk.ParameterObject.New()
    values = parameters.GetDefaultParameterMap(name)
    for key, value in options.items():
        values[key] = [str(each) for each in (value if isinstance(value, list) else [value])]
    parameters.AddParameterMap(values)
    mask = {"fixed_mask": itk.imread(task.moving_mask, itk.UC)} if task.moving_mask else {}
    with task.work():
        _, found = itk.elastix_registration_method(
            fixed, moving, parameter_object=parameters, number_of_threads=task.threads, **mask
        )
        field = itk.transformix_deformation_field(moving, found)
    itk.imwrite(field, task.field)
    return {"itk-elastix": version("itk-elastix")}


if __name__ == "__main__":
    from task import perform  # type: ignore[import-not-found]

    perform(register)
