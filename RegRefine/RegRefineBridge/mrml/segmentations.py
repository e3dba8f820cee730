"""Segmentations and label volumes in: one label map on a given grid, with names and colours.

A label map holds one value a voxel. **Where segments overlap, the one further down the list is on
top**, as in Slicer's own export. Structures of two nodes belong together by their names:
labelsFromNode(moving, geometry, like=fixedLabels) gives equal names equal values, whatever the
values in the nodes are.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume

from .transforms import Node, fromVtkMatrix, matrixToWorld, toVtkMatrix
from .volumes import checkPresent, ownVolume, sampled

Colour = tuple[float, float, float]
BINARY_LABELMAP = "Binary labelmap"
FEW = 50


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map (integers, 0 outside) with the name and the colour (0..1) of each value."""

    volume: Volume
    names: dict[int, str]
    colours: dict[int, Colour]

    def common(self, other: Labels) -> list[str]:
        """Return the names that both have."""
        return [name for name in self.names.values() if name in set(other.names.values())]


def labelsFromNode(
    node: Node, geometry: Geometry, like: Labels | None = None, what: str = "segmentation"
) -> Labels:
    """Return a segmentation or label volume on a grid in the world, nearest neighbour.

    Values: a segmentation's segments count from 1 in the list's order, a label volume keeps its
    own; with `like`, names known there take the values they have there, others new ones.

    Raises:
        RegRefineError: the node is missing, empty, or no labels.
    """
    checkPresent(node, what)
    if node.IsA("vtkMRMLSegmentationNode"):
        array, names, colours = _fromSegmentation(node, geometry, what)
    else:
        array, names, colours = _fromVolume(node, geometry, what)
    if like is not None:
        array, names, colours = _renumbered(array, names, colours, like)
    return Labels(Volume(array, geometry), names, colours)


def maskFromNode(node: Node, geometry: Geometry, what: str = "mask") -> Volume:
    """Return a segmentation (all its segments) or a label volume as 1 inside, 0 outside (uint8).

    Raises:
        RegRefineError: the node is missing, or nothing of it lies in the grid.
    """
    inside = labelsFromNode(node, geometry, what=what).volume.array != 0
    if not inside.any():
        raise RegRefineError(f"{what}: {node.GetName()} has nothing inside the volume")
    return Volume(inside.astype(np.uint8), geometry)


def _fromSegmentation(
    node: Node, geometry: Geometry, what: str
) -> tuple[NDArray[Any], dict[int, str], dict[int, Colour]]:
    segmentation = _withLabelmaps(node, geometry, what)
    order = {name: rank for rank, name in enumerate(segmentation.GetSegmentIDs(), start=1)}
    if not order:
        raise RegRefineError(f"{what}: {node.GetName()} has no segments")
    kind = _kind(len(order))
    top = np.zeros(geometry.shape, kind)
    for layer in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        image = segmentation.GetLayerDataObject(layer, BINARY_LABELMAP)
        source = _orientedVolume(image)
        if source is None:
            continue
        rank = np.zeros(int(source.array.max(initial=0)) + 1, kind)
        for segmentID in segmentation.GetSegmentIDsForLayer(layer, BINARY_LABELMAP):
            value = segmentation.GetSegment(segmentID).GetLabelValue()
            if value < len(rank):
                rank[value] = order[segmentID]
        np.maximum(top, rank[sampled(source, node, geometry)], out=top)
    segments = {rank: segmentation.GetSegment(name) for name, rank in order.items()}
    names = {rank: segment.GetName() for rank, segment in segments.items()}
    colours = {rank: tuple(segment.GetColor()) for rank, segment in segments.items()}
    return top, names, colours  # type: ignore[return-value]


def _fromVolume(
    node: Node, geometry: Geometry, what: str
) -> tuple[NDArray[Any], dict[int, str], dict[int, Colour]]:
    own = ownVolume(node, what)
    if own.array.dtype.kind == "f" and not np.array_equal(own.array, np.round(own.array)):
        raise RegRefineError(f"{what}: {node.GetName()} is no label map: it has fractions")
    if own.array.min() < 0:
        raise RegRefineError(f"{what}: {node.GetName()} is no label map: it has negative values")
    own = Volume(own.array.astype(_kind(int(own.array.max()))), own.geometry)
    names: dict[int, str] = {}
    colours: dict[int, Colour] = {}
    display = node.GetDisplayNode()
    table = display.GetColorNode() if display is not None else None
    for value in _values(own.array):
        names[value], colours[value] = _entry(table, value)
    return sampled(own, node, geometry), names, colours


def _entry(table: Node, value: int) -> tuple[str, Colour]:
    """Return a colour table's name and colour of a label, or made-up ones."""
    name, rgba = f"label {value}", [0.0, 0.0, 0.0, 0.0]
    if table is not None and table.GetColor(value, rgba):
        given = table.GetColorName(value)
        return (given if given and given != "(none)" else name), tuple(rgba[:3])  # type: ignore[return-value]
    hue = (value * 0.618034) % 1.0  # the golden ratio keeps neighbours apart
    return name, colorsys.hsv_to_rgb(hue, 0.6, 0.9)


def _renumbered(
    array: NDArray[Any], names: dict[int, str], colours: dict[int, Colour], like: Labels
) -> tuple[NDArray[Any], dict[int, str], dict[int, Colour]]:
    known = {name: value for value, name in like.names.items()}
    following = max(known.values(), default=0) + 1
    for name in names.values():
        if name not in known:
            known[name] = following
            following += 1
    lookup = np.zeros(max(names, default=0) + 1, _kind(following))
    for value, name in names.items():
        lookup[value] = known[name]
    renamed = {int(lookup[value]): name for value, name in names.items()}
    recoloured = {int(lookup[value]): colour for value, colour in colours.items()}
    if all(value == new for value, new in enumerate(lookup) if value in names):
        return array, renamed, recoloured
    return lookup[array], renamed, recoloured


def _kind(largest: int) -> type[np.integer[Any]]:
    """Return the narrowest type that holds labels up to `largest`: they travel to the worker."""
    kinds = (np.uint8, np.int16, np.int32)
    return next((kind for kind in kinds if largest <= np.iinfo(kind).max), np.int64)


def _values(array: NDArray[Any]) -> list[int]:
    """Return the labels that occur, without 0."""
    largest = int(array.max(initial=0))
    if largest <= FEW:  # comparing the whole array so often is quicker than one look-up a voxel
        return [value for value in range(1, largest + 1) if (array == value).any()]
    occurs = np.zeros(largest + 1, bool)
    occurs[array.ravel()] = True
    return [int(value) for value in np.flatnonzero(occurs) if value != 0]


def _withLabelmaps(node: Node, geometry: Geometry, what: str) -> Any:
    """Return the node's segmentation, or a converted copy where it is kept as surfaces."""
    segmentation = node.GetSegmentation()
    count = segmentation.GetNumberOfSegments()
    if segmentation.ContainsRepresentation(BINARY_LABELMAP) or count == 0:
        return segmentation
    toWorld = matrixToWorld(node)
    affine = geometry.affine if toWorld is None else np.linalg.inv(toWorld) @ geometry.affine
    k, j, i = geometry.shape
    grid = slicer.vtkSegmentationConverter.SerializeImageGeometry(
        toVtkMatrix(affine), [0, i - 1, 0, j - 1, 0, k - 1]
    )
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    copy.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), grid
    )
    if copy.GetNumberOfSegments() != count or not copy.CreateRepresentation(BINARY_LABELMAP):
        raise RegRefineError(
            f"{what}: {node.GetName()} cannot be turned into label maps; "
            "create its binary labelmap representation in the Segmentations module"
        )
    return copy


def _orientedVolume(image: Any) -> Volume | None:
    """Return a vtkOrientedImageData as a Volume in the segmentation's coordinates."""
    extent = image.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    if min(shape) < 1 or image.GetPointData().GetScalars() is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = fromVtkMatrix(matrix)
    affine[:3, 3] += affine[:3, :3] @ np.array(extent[::2])
    return Volume(
        vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape), Geometry(shape, affine)
    )


def setSegments(
    node: Node,
    image: Any,
    values: Iterable[int],
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
) -> None:
    """Make the node's segments those of a label map, one for each of its names.

    All segments share one label map (one layer). Segments of an earlier run keep their display
    settings where the same structures come again. A value without a name is called by its number.

    Args:
        image: the label map, a vtkOrientedImageData; `values` are those that occur in it.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    wanted = {f"RegRefine_{value}": value for value in sorted({*names, *values} - {0})}
    if list(segmentation.GetSegmentIDs()) != list(wanted):
        segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    for segmentID, value in wanted.items():
        segment = segmentation.GetSegment(segmentID)
        if segment is None:
            segment = slicer.vtkSegment()
            segment.SetLabelValue(value)
            segment.AddRepresentation(BINARY_LABELMAP, image)
            segmentation.AddSegment(segment, segmentID)
            segment.SetColor(*colours.get(value, segment.GetColor()))
        segment.SetName(names.get(value, f"label {value}"))
        segment.RemoveAllRepresentations()
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY_LABELMAP, image)
