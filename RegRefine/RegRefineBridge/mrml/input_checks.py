"""Checks of the nodes chosen as inputs, and a fingerprint that changes when one of them does."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import vtk

from ..i18n import _
from ..workflow.interfaces import Inputs
from .segmentations import BINARY_LABELMAP
from .transforms import Node

_VOLUME = ("vtkMRMLScalarVolumeNode",)
_LABELS = ("vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode")
_MASK = (*_LABELS, "vtkMRMLMarkupsROINode")
_POINTS = ("vtkMRMLMarkupsNode",)
_TRANSFORM = ("vtkMRMLTransformNode",)
# input -> classes of its node
KINDS = {
    "fixed": _VOLUME,
    "moving": _VOLUME,
    "fixedSegmentation": _LABELS,
    "movingSegmentation": _LABELS,
    "fixedMask": _MASK,
    "movingMask": _MASK,
    "fixedLandmarks": _POINTS,
    "movingLandmarks": _POINTS,
    "initialTransform": _TRANSFORM,
}


def _words(classes: tuple[str, ...]) -> str:
    return {
        _VOLUME: _("a scalar volume"),
        _LABELS: _("a segmentation or a label map"),
        _MASK: _("a segmentation, a label map or an ROI"),
        _POINTS: _("a list of points"),
        _TRANSFORM: _("a transform"),
    }[classes]


def wrongKinds(inputs: Inputs) -> list[str]:
    """Return a sentence for each input that is no node, or a node of another kind."""
    sentences = []
    for name, node in inputs.given().items():
        classes = KINDS[name]
        words = _words(classes)
        if not hasattr(node, "IsA"):
            sentences.append(
                _("{name}: {words} is needed, got {value!r}; see slicer.util.getNode.").format(
                    name=name, words=words, value=node
                )
            )
        elif not any(node.IsA(kind) for kind in classes):
            sentences.append(
                _("{name}: {words} is needed, and {node} is a {kind}.").format(
                    name=name, words=words, node=node.GetName(), kind=node.GetNodeTagName()
                )
            )
    return sentences


def landmarksWrong(inputs: Inputs) -> list[str]:
    """Return a sentence where the landmarks are no pairs."""
    fixed, moving = inputs.fixedLandmarks, inputs.movingLandmarks
    if fixed is None:
        return []
    if moving is None:
        return [_("Choose the moving landmarks as well, or no fixed ones.")]
    counts = [node.GetNumberOfDefinedControlPoints() for node in (fixed, moving)]
    if counts[0] == counts[1]:
        return []
    return [
        _(
            "The landmarks must be pairs: {fixed} are placed on the fixed, {moving} on the moving."
        ).format(fixed=counts[0], moving=counts[1])
    ]


def hasVoxels(node: Node) -> bool:
    """Return whether a volume node has an image with voxels."""
    image = node.GetImageData()
    return image is not None and image.GetNumberOfPoints() > 0


def hasContent(node: Node) -> bool:
    """Return whether there is something in a node that filling it would replace."""
    if node.IsA("vtkMRMLVolumeNode"):
        return hasVoxels(node)
    if node.IsA("vtkMRMLSegmentationNode"):
        return bool(node.GetSegmentation() and node.GetSegmentation().GetNumberOfSegments())
    if node.IsA("vtkMRMLTransformNode"):
        return not _isIdentity(node)
    return True


def _isIdentity(node: Node) -> bool:
    if not node.IsLinear():
        return False
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    return bool(matrix.IsIdentity())


def stateOf(node: Node) -> Hashable:
    """Return what changes when the data of a node or its place in the world does."""
    parent = node.GetParentTransformNode()
    place = None if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime())
    if node.IsA("vtkMRMLTransformNode"):
        return node.GetTransformToWorldMTime(), place
    if node.IsA("vtkMRMLVolumeNode"):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        image = node.GetImageData()
        grid = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
        return (None if image is None else image.GetMTime()), grid, place
    if node.IsA("vtkMRMLSegmentationNode"):
        return _segments(node.GetSegmentation()), place
    points: list[Any] = [_roi(node)] if node.IsA("vtkMRMLMarkupsROINode") else []
    for index in range(node.GetNumberOfControlPoints()):
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPosition(index, position)
        points.append((*position, node.GetNthControlPointPositionStatus(index)))
    return tuple(points), place


def _segments(segmentation: Any) -> Hashable:
    layers = range(segmentation.GetNumberOfLayers(BINARY_LABELMAP))
    images = [segmentation.GetLayerDataObject(layer, BINARY_LABELMAP) for layer in layers]
    names = [
        (each, segmentation.GetSegment(each).GetName()) for each in segmentation.GetSegmentIDs()
    ]
    return tuple(image.GetMTime() for image in images), tuple(names)


def _roi(node: Node) -> Hashable:
    matrix = node.GetObjectToNodeMatrix()
    axes = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    return tuple(node.GetSize()), axes
