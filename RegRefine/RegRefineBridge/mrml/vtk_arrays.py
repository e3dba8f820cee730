"""A result's arrays from their files into VTK's memory, a piece at a time.

The arrays are as nodes hold them (worker/scene_result.py), so this is copying and nothing else, in
steps short enough that a window stays alive between them; the scene is not touched.

    loaded = yield from load(ready)      in steps
    loaded = finished(load(ready))       at once (workflow/chunked.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from RegRefineLib.field_padding import GridAndMatrix
from RegRefineLib.geometry import FloatArray, Geometry, Volume
from RegRefineLib.worker.scene_result import Ready

from ..workflow.chunked import Steps
from .transforms import gridTransform, linearTransform, toVtkMatrix

STEP_BYTES = 1 << 22


class Image(NamedTuple):
    """Voxels in VTK's memory (vtkImageData) and the grid they lie on."""

    data: Any
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Loaded:
    """A result in VTK's memory; what it does not have is None.

    Attributes:
        transform: VTK transforms, one after the other.
        labels: vtkOrientedImageData; labelValues are those that occur.
        affine, record: as in Ready.
    """

    transform: tuple[Any, ...]
    warped: Image
    labels: Any
    labelValues: tuple[int, ...]
    jacobian: Image | None
    displacement: Image | None
    affine: FloatArray
    record: dict[str, Any]


def load(ready: Ready) -> Steps[Loaded]:
    """Return a result in VTK's memory, in steps that copy at most STEP_BYTES each."""
    transform = yield from _mapping(ready.transform)
    warped = yield from imageOf(ready.warped)
    labels = None if ready.warped_labels is None else (yield from oriented(ready.warped_labels))
    jacobian = None if ready.jacobian is None else (yield from imageOf(ready.jacobian))
    lengths = None if ready.displacement is None else (yield from imageOf(ready.displacement))
    return Loaded(
        transform,
        warped,
        labels,
        ready.label_values,
        jacobian,
        lengths,
        ready.affine,
        ready.record,
    )


def oriented(volume: Volume) -> Steps[Any]:
    """Return a volume as Slicer's vtkOrientedImageData, in steps."""
    image = slicer.vtkOrientedImageData()
    k, j, i = volume.geometry.shape
    image.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image.GetPointData().SetScalars((yield from copied(volume.array)))
    image.SetImageToWorldMatrix(toVtkMatrix(volume.geometry.affine))
    return image


def copied(array: NDArray[Any], components: int = 1) -> Steps[vtk.vtkDataArray]:
    """Return an array's values in one of VTK's own, in steps."""
    target = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(array.dtype))
    target.SetNumberOfComponents(components)
    target.SetNumberOfTuples(array.size // components)
    source, view = array.reshape(-1), vtk_to_numpy(target).reshape(-1)
    length = STEP_BYTES // array.itemsize
    for start in range(0, array.size, length):
        np.copyto(view[start : start + length], source[start : start + length])
        yield
    return target


def imageOf(volume: Volume) -> Steps[Image]:
    """Return a volume as VTK's image and its grid, in steps."""
    data = vtk.vtkImageData()
    data.SetDimensions(*reversed(volume.geometry.shape))
    data.GetPointData().SetScalars((yield from copied(volume.array)))
    return Image(data, volume.geometry)


def _mapping(mapping: GridAndMatrix) -> Steps[tuple[Any, ...]]:
    vectors = yield from copied(mapping.grid.vectors, 3)
    grid = gridTransform(vectors, mapping.grid.geometry)
    return (grid,) if mapping.matrix is None else (grid, linearTransform(mapping.matrix))
