"""Segmentations and label volumes in: one label map on a given grid, with names and colours.

A label map holds one value a voxel. **Where segments overlap, the one further down the list is on
top**, as in Slicer's own export. Structures of two nodes belong together by their names, whatever
their values, and whatever the case and the blanks of the names (mrml/structures.py):
labelsFromNode(moving, geometry, like=fixedLabels) gives them equal values. Segmentations out are in
mrml/segments_out.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume, narrowest_integer

from .structures import Labels, Structure, madeUpColour, matched
from .transforms import Node, fromVtkMatrix, matrixToWorld, toVtkMatrix
from .volumes import checkPresent, ownVolume, roiMask, sampled

BINARY_LABELMAP = "Binary labelmap"
FEW = 50


def labelsFromNode(
    node: Node,
    geometry: Geometry,
    like: Labels | None = None,
    what: str = "segmentation",
    through: Any = None,
) -> Labels:
    """Return a segmentation or label volume on a grid in the world, nearest neighbour.

    Values: a segmentation's segments count from 1 in the list's order, a label volume keeps its
    own; with `like`, structures known there take the values they have there, others new ones.

    Args:
        through: a VTK transform of world points that comes first: the labels as it warps them.

    Raises:
        RegRefineError: the node is missing, empty, or no labels.
    """
    checkPresent(node, what)
    if node.IsA("vtkMRMLSegmentationNode"):
        array, structures = _fromSegmentation(node, geometry, what, through)
    else:
        array, structures = _fromVolume(node, geometry, what, through)
    if like is not None:
        array, structures = _renumbered(array, structures, like)
    return Labels(Volume(array, geometry), structures)


def maskFromNode(node: Node, geometry: Geometry, what: str = "mask") -> Volume:
    """Return a segmentation (all its segments), label volume or ROI as 1 inside, 0 outside (uint8).

    Raises:
        RegRefineError: the node is missing, or nothing of it lies in the grid.
    """
    checkPresent(node, what)
    if node.IsA("vtkMRMLMarkupsROINode"):
        inside = roiMask(node, geometry)
    else:
        inside = labelsFromNode(node, geometry, what=what).volume.array != 0
    if not inside.any():
        raise RegRefineError(f"{what}: {node.GetName()} has nothing inside the volume")
    return Volume(inside.astype(np.uint8), geometry)


def _fromSegmentation(
    node: Node, geometry: Geometry, what: str, through: Any
) -> tuple[NDArray[Any], dict[int, Structure]]:
    segmentation = _withLabelmaps(node, geometry, what)
    order = {name: rank for rank, name in enumerate(segmentation.GetSegmentIDs(), start=1)}
    if not order:
        raise RegRefineError(f"{what}: {node.GetName()} has no segments")
    kind = narrowest_integer(len(order))
    top = np.zeros(geometry.shape, kind)
    for layer in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        source = _orientedVolume(segmentation.GetLayerDataObject(layer, BINARY_LABELMAP))
        if source is None:
            continue
        rank = np.zeros(int(source.array.max(initial=0)) + 1, kind)
        for segmentID in segmentation.GetSegmentIDsForLayer(layer, BINARY_LABELMAP):
            value = segmentation.GetSegment(segmentID).GetLabelValue()
            if value < len(rank):
                rank[value] = order[segmentID]
        np.maximum(top, rank[sampled(source, node, geometry, through=through)], out=top)
    segments = {rank: segmentation.GetSegment(name) for name, rank in order.items()}
    return top, {rank: _structureOf(segment) for rank, segment in segments.items()}


def _structureOf(segment: Any) -> Structure:
    tag, terminology = vtk.reference(""), ""
    if segment.GetTag(segment.GetTerminologyEntryTagName(), tag):
        terminology = str(tag)
    red, green, blue = segment.GetColor()
    return Structure(segment.GetName(), (red, green, blue), terminology)


def _fromVolume(
    node: Node, geometry: Geometry, what: str, through: Any
) -> tuple[NDArray[Any], dict[int, Structure]]:
    own = ownVolume(node, what)
    if own.array.dtype.kind == "f" and not np.array_equal(own.array, np.round(own.array)):
        raise RegRefineError(f"{what}: {node.GetName()} is no label map: it has fractions")
    if own.array.min() < 0:
        raise RegRefineError(f"{what}: {node.GetName()} is no label map: it has negative values")
    own = Volume(own.array.astype(narrowest_integer(int(own.array.max()))), own.geometry)
    display = node.GetDisplayNode()
    table = display.GetColorNode() if display is not None else None
    structures = {value: _entry(table, value) for value in _values(own.array)}
    return sampled(own, node, geometry, through=through), structures


def _entry(table: Node, value: int) -> Structure:
    """Return a colour table's name and colour of a label, or made-up ones.

    The names of Slicer's own tables ("jake" for 1) say nothing of the anatomy and are not used.
    """
    name, rgba = f"label {value}", [0.0, 0.0, 0.0, 0.0]
    if table is None or not table.GetColor(value, rgba):
        return Structure(name, madeUpColour(value))
    if _namesAnatomy(table) and table.GetColorDefined(value):
        name = table.GetColorName(value) or name
    return Structure(name, (rgba[0], rgba[1], rgba[2]))


def _namesAnatomy(table: Node) -> bool:
    kinds = (table.User, table.File) if table.IsA("vtkMRMLColorTableNode") else ()
    return table.GetType() in kinds and "GenericColors" not in str(table.GetID())


def _renumbered(
    array: NDArray[Any], structures: dict[int, Structure], like: Labels
) -> tuple[NDArray[Any], dict[int, Structure]]:
    new = matched(structures, like.structures)
    lookup = np.zeros(max(new, default=0) + 1, narrowest_integer(max(new.values(), default=0)))
    for value, other in new.items():
        lookup[value] = other
    renumbered = {new[value]: structure for value, structure in structures.items()}
    if all(value == other for value, other in new.items()):
        return array, renumbered
    return lookup[array], renumbered


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
