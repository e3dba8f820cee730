"""Where to look: the places of a result that are most in doubt, and jumping there.

- the strongest fold, squeeze and stretch of the Jacobian map,
- the farthest displacement,
- where fixed and warped volume agree least, by the correlation of blocks.

Computed from every few voxels of the nodes as they are, so that it takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from RegRefineLib.geometry import FloatArray, Geometry, Volume

from ..i18n import _
from .output_nodes import isPresent
from .transforms import Node
from .volumes import volumeFromNode

MOST_VOXELS = 1_000_000
BLOCK = 6  # voxels of the thinned grid
SQUEEZED, STRETCHED = 0.3, 3.0
POOR_CORRELATION = 0.5


class Place(NamedTuple):
    """What is there, in words, and where, in RAS mm of the world."""

    words: str
    point: FloatArray


def placesInDoubt(fixed: Node, nodes: Mapping[str, Node]) -> list[Place]:
    """Return the places of a result that should be looked at, the gravest first; may be empty.

    Args:
        nodes: the result's, by output; what is not there is not looked at.
    """
    places = []
    if isPresent(nodes.get("jacobian")):
        places += _ofJacobian(_thin(volumeFromNode(nodes["jacobian"])))
    if isPresent(nodes.get("warpedVolume")) and isPresent(fixed):
        places += _ofImages(
            _thin(volumeFromNode(fixed)), _thin(volumeFromNode(nodes["warpedVolume"]))
        )
    if isPresent(nodes.get("displacement")):
        lengths = _thin(volumeFromNode(nodes["displacement"]))
        index = int(lengths.array.argmax())
        words = _("moved farthest: {length:.1f} mm").format(length=lengths.array.flat[index])
        places.append(Place(words, _point(lengths, index)))
    return places


def jumpTo(scene: Any, point: FloatArray) -> None:
    """Centre all slice views on a point in RAS mm."""
    kind = "vtkMRMLSliceNode"
    for index in range(scene.GetNumberOfNodesByClass(kind)):
        scene.GetNthNodeByClass(index, kind).JumpSliceByCentering(*[float(x) for x in point])


def _ofJacobian(jacobian: Volume) -> list[Place]:
    array = jacobian.array
    least, most = int(array.argmin()), int(array.argmax())
    places = []
    value = float(array.flat[least])
    if value <= 0:
        words = _("folds (volume change {value:.2g})").format(value=value)
        places.append(Place(words, _point(jacobian, least)))
    elif value < SQUEEZED:
        words = _("squeezed most: to {share:.0f} % of its volume").format(share=100 * value)
        places.append(Place(words, _point(jacobian, least)))
    value = float(array.flat[most])
    if value > STRETCHED:
        words = _("stretched most: to {factor:.1f} times its volume").format(factor=value)
        places.append(Place(words, _point(jacobian, most)))
    return places


def _ofImages(fixed: Volume, warped: Volume) -> list[Place]:
    """Return the block in which the images agree least, if they agree badly there."""
    if not fixed.geometry.same_grid(warped.geometry):
        return []
    a, b = (_blocks(volume.array) for volume in (fixed, warped))
    if not a.size:
        return []
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    strength = (a**2).sum(axis=1) * (b**2).sum(axis=1)
    contrast = (a**2).mean(axis=1)
    distinct = contrast > 0.05 * contrast.max()  # flat blocks correlate by chance
    correlation = np.abs((a * b).sum(axis=1)) / np.sqrt(np.maximum(strength, 1e-20))
    correlation[~distinct] = 1.0
    worst = int(correlation.argmin())
    if correlation[worst] > POOR_CORRELATION:
        return []
    counts = [n // BLOCK for n in fixed.array.shape]
    k, j, i = (BLOCK * (x + 0.5) - 0.5 for x in np.unravel_index(worst, counts))
    words = _("fixed and warped volume agree least (correlation {value:.2f})").format(
        value=correlation[worst]
    )
    return [Place(words, fixed.geometry.to_ras((i, j, k)))]


def _blocks(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array's blocks of BLOCK^3 voxels, one a row; what is left over is left out."""
    counts = [n // BLOCK for n in array.shape]
    cut = array[tuple(slice(0, n * BLOCK) for n in counts)].astype(np.float32)
    split = cut.reshape(counts[0], BLOCK, counts[1], BLOCK, counts[2], BLOCK)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, BLOCK**3)


def _thin(volume: Volume) -> Volume:
    """Return every few voxels of a volume, so that about MOST_VOXELS are left."""
    step = max(1, round((volume.array.size / MOST_VOXELS) ** (1 / 3)))
    array = volume.array[::step, ::step, ::step]
    affine = volume.geometry.affine.copy()
    affine[:3, :3] *= step
    return Volume(array, Geometry(array.shape, affine))


def _point(volume: Volume, index: int) -> FloatArray:
    k, j, i = np.unravel_index(index, volume.array.shape)
    return volume.geometry.to_ras((i, j, k))
