"""The moving images of a node under a bending transform, interpolated once.

The worker gets such a volume sampled through the bend, and warps that: two interpolations. What is
shown is sampled here from the node's own voxels, through the found mapping and the bend in one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from RegRefineLib.geometry import Geometry, Volume

from ..workflow.chunked import Steps
from .output_nodes import Sources
from .segmentations import labelsFromNode
from .transforms import inTurn
from .volumes import ownVolume, sampled
from .vtk_arrays import Image, Loaded, imageOf, oriented

SLAB_VOXELS = 150_000


def sampledOnce(loaded: Loaded, sources: Sources, labels: bool) -> Steps[Any]:
    """Return the warped moving volume (Image), or its labels (vtkOrientedImageData), in steps.

    On the fixed volume's grid, in the pixel type of the worker's own.
    """
    grid = loaded.warped.geometry
    through = inTurn(*loaded.transform)
    slabs = []
    for slab in _slabs(grid):
        if labels:
            like = sources.movingLabels
            found = labelsFromNode(sources.movingSegmentation, slab, like, through=through)
            slabs.append(found.volume.array)
        else:
            own = ownVolume(sources.moving)
            outside = float(own.array.min())
            slabs.append(sampled(own, sources.moving, slab, 1, outside, through=through))
        yield
    volume = Volume(np.concatenate(slabs), grid)
    if labels:
        return (yield from oriented(volume))
    image: Image = yield from imageOf(volume)
    return image


def _slabs(grid: Geometry) -> list[Geometry]:
    """Return the grid in slabs of a few slices each."""
    k, j, i = grid.shape
    thickness = max(1, SLAB_VOXELS // (j * i))
    slabs = []
    for start in range(0, k, thickness):
        affine = grid.affine.copy()
        affine[:3, 3] = grid.to_ras([0, 0, start])
        slabs.append(Geometry((min(thickness, k - start), j, i), affine))
    return slabs
