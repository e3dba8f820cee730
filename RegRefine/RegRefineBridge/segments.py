"""Segmentations out: a label map with names and colours as the segments of a segmentation node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import slicer

from .labels import BINARY_LABELMAP, Colour
from .transforms import Node


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
