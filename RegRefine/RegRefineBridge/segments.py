"""Segmentations out: a label map with names and colours as the segments of a segmentation node."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk

from RegRefineLib.geometry import Volume

from .labels import BINARY_LABELMAP, Labels
from .transforms import Node, toVtkMatrix


def setSegments(node: Node, labels: Labels) -> None:
    """Make the node's segments those of a label map, one for each of its names.

    All segments share one label map (one layer). Segments of an earlier run keep their display
    settings where the same structures come again. A value without a name is called by its number.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    array = labels.volume.array
    values = sorted({*labels.names, *(int(v) for v in np.unique(array))} - {0})
    kind = np.uint8 if max(values, default=0) < 256 else np.int16
    image = orientedImage(Volume(array.astype(kind), labels.volume.geometry))
    segmentation = node.GetSegmentation()
    wanted = {f"RegRefine_{value}": value for value in values}
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
            segment.SetColor(*labels.colours.get(value, segment.GetColor()))
        segment.SetName(labels.names.get(value, f"label {value}"))
        segment.RemoveAllRepresentations()
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY_LABELMAP, image)


def orientedImage(volume: Volume) -> Any:
    """Return a volume as Slicer's vtkOrientedImageData."""
    image = slicer.vtkOrientedImageData()
    k, j, i = volume.geometry.shape
    image.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image.GetPointData().SetScalars(numpy_to_vtk(volume.array.ravel(), deep=True))
    image.SetImageToWorldMatrix(toVtkMatrix(volume.geometry.affine))
    return image
