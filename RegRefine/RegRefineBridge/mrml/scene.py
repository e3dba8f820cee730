"""The presenter's Scene on MRML: checks, reads, publishes and puts back nodes."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import vtk

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras
from RegRefineLib.worker.scene_result import Ready

from ..i18n import _
from ..workflow.interfaces import Inputs, Material, Nodes, PairSize, Request
from .output_nodes import OUTPUTS, Sources, outputNode
from .publish import checkChosen, publish
from .segmentations import BINARY_LABELMAP, Labels, labelsFromNode, maskFromNode
from .transforms import Node, bend, initialFromNode, matrixToWorld
from .volumes import landmarksFromNode, volumeFromNode
from .vtk_arrays import Loaded, load

VOLUMES = ("fixed", "moving")


@dataclass(frozen=True, eq=False)
class Memento:
    """What was there before a publication: copies of the nodes it fills, ids of those it finds."""

    copies: Mapping[str, Node] = field(default_factory=dict)
    present: frozenset[str] = frozenset()


class MrmlScene:
    """Nodes of one scene for the presenter."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def missing(self, inputs: Inputs) -> list[str]:
        """Return a sentence for each thing that keeps a run from starting."""
        sentences = []
        if inputs.fixed is None:
            sentences.append(_("Choose the fixed volume, which stays where it is."))
        if inputs.moving is None:
            sentences.append(_("Choose the moving volume, which is brought onto the fixed one."))
        if inputs.fixed is not None and inputs.fixed is inputs.moving:
            sentences.append(_("Fixed and moving volume are the same; choose two."))
        for name, node in inputs.given().items():
            if not self._isHere(node):
                sentences.append(
                    _("{name} was removed from the scene; choose another.").format(
                        name=node.GetName()
                    )
                )
            elif name in VOLUMES and not _hasVoxels(node):
                sentences.append(_("{name} has no voxels.").format(name=node.GetName()))
        return [*sentences, *_landmarksWrong(inputs)]

    def refused(self, request: Request) -> list[str]:
        """Return a sentence where a chosen node cannot receive an output: told before the run."""
        inputs = request.inputs.given()
        inputs.pop("initialTransform", None)  # may be refined in place
        try:
            checkChosen(self._chosen(request), list(inputs.values()), request.inputs.fixed)
        except RegRefineError as error:
            return [str(error)]
        return []

    def size(self, inputs: Inputs) -> PairSize | None:
        """Return how large the volumes are, or None where they are not both there."""
        volumes = (inputs.fixed, inputs.moving)
        if not all(
            node is not None and self._isHere(node) and _hasVoxels(node) for node in volumes
        ):
            return None
        fixed, moving = (node.GetImageData().GetNumberOfPoints() for node in volumes)
        return PairSize(fixed, moving, tuple(inputs.fixed.GetSpacing()))

    def fingerprint(self, inputs: Inputs) -> Hashable:
        """Return what changes when an input's data or place does; None when one is gone."""
        nodes = inputs.given()
        if not all(self._isHere(node) for node in nodes.values()):
            return None
        return tuple((name, node.GetID(), _state(node)) for name, node in nodes.items())

    def read(self, inputs: Inputs) -> Material:
        """Return the inputs as arrays in the world.

        Raises:
            RegRefineError: a node is missing or cannot be used; the message names it.
        """
        fixed = volumeFromNode(inputs.fixed, "fixed volume")
        moving = volumeFromNode(inputs.moving, "moving volume")
        labels = _labelPair(inputs, fixed.geometry, moving.geometry)
        points = [
            None if node is None else landmarksFromNode(node, what).points
            for node, what in (
                (inputs.fixedLandmarks, "fixed landmarks"),
                (inputs.movingLandmarks, "moving landmarks"),
            )
        ]
        initial = inputs.initialTransform
        extras = Extras(
            fixed_labels=None if labels[0] is None else labels[0].volume,
            moving_labels=None if labels[1] is None else labels[1].volume,
            fixed_mask=inputs.fixedMask
            and maskFromNode(inputs.fixedMask, fixed.geometry, "fixed mask"),
            moving_mask=inputs.movingMask
            and maskFromNode(inputs.movingMask, moving.geometry, "moving mask"),
            initial=None
            if initial is None
            else initialFromNode(initial, fixed.geometry, inputs.moving),
            fixed_landmarks=points[0] if points[1] is not None else None,
            moving_landmarks=points[1] if points[0] is not None else None,
        )
        place = matrixToWorld(inputs.moving)
        sources = Sources(
            inputs.fixed,
            inputs.moving,
            movingLabels=_named(labels[1]),
            fixedLabels=_named(labels[0]),
            movingLandmarks=inputs.movingLandmarks,
            bend=bend(inputs.moving),
            movingToWorld=place,
        )
        return Material(fixed, moving, extras, sources, place)

    def remember(self, request: Request) -> Memento:
        """Return copies of the chosen outputs, and which outputs there are already."""
        chosen = self._chosen(request)
        copies = {}
        for output, node in chosen.items():
            copies[output] = self._scene.CreateNodeByClass(node.GetClassName())
            copies[output].UnRegister(None)  # Python's own reference is enough
            copies[output].CopyContent(node, not _isReplaced(node))
        present = {node.GetID() for node in chosen.values()}
        if "transform" in chosen:
            found = (outputNode(chosen["transform"], output) for output in OUTPUTS)
            present |= {node.GetID() for node in found if node is not None}
        return Memento(copies, frozenset(present))

    def load(self, ready: Ready) -> Generator[None, None, Loaded]:
        """Return a result in VTK's memory, in short steps; the scene is not touched."""
        return load(ready)

    def publish(self, loaded: Loaded, request: Request, sources: Sources) -> Nodes:
        """Put a result into the scene and return its nodes by output.

        Raises:
            RegRefineError: as publication.publish.
        """
        return publish(self._scene, loaded, sources, request.wanted, self._chosen(request))

    def putBack(self, nodes: Nodes, memento: Memento) -> None:
        """Undo a publication: nodes it made go, chosen ones are as before."""
        transform = nodes.get("transform")
        doomed = dict(nodes)
        if transform is not None and self._isHere(transform):
            colours = outputNode(transform, "jacobianColours")
            doomed |= {} if colours is None else {"jacobianColours": colours}
        for output, node in doomed.items():
            if not self._isHere(node):
                continue
            if output in memento.copies:
                node.CopyContent(memento.copies[output], not _isReplaced(node))
            elif node.GetID() not in memento.present:
                self._remove(node)

    def _remove(self, node: Node) -> None:
        """Remove a node with those that are only there for it."""
        own = []
        if node.IsA("vtkMRMLPlotChartNode"):
            count = node.GetNumberOfPlotSeriesNodes()
            own = [node.GetNthPlotSeriesNode(index) for index in range(count)]
        elif node.IsA("vtkMRMLDisplayableNode"):
            own = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        self._scene.RemoveNode(node)
        for each in own:
            self._scene.RemoveNode(each)

    def _chosen(self, request: Request) -> dict[str, Node]:
        """Return the nodes picked for outputs that are still in the scene."""
        return {
            output: node
            for output, node in request.chosen.items()
            if node is not None and self._isHere(node)
        }

    def _isHere(self, node: Node) -> bool:
        return node.GetScene() is not None and node.GetScene() is self._scene


def _isReplaced(node: Node) -> bool:
    """Whether publishing gives the node a new data object, so that a copy may share the old one."""
    return node.IsA("vtkMRMLTransformNode") or node.IsA("vtkMRMLVolumeNode")


def _hasVoxels(node: Node) -> bool:
    image = node.GetImageData()
    return image is not None and image.GetNumberOfPoints() > 0


def _landmarksWrong(inputs: Inputs) -> list[str]:
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


def _labelPair(
    inputs: Inputs, fixed: Geometry, moving: Geometry
) -> tuple[Labels | None, Labels | None]:
    left = right = None
    if inputs.fixedSegmentation is not None:
        left = labelsFromNode(inputs.fixedSegmentation, fixed, what="fixed segmentation")
    if inputs.movingSegmentation is not None:
        right = labelsFromNode(
            inputs.movingSegmentation, moving, like=left, what="moving segmentation"
        )
    return left, right


def _named(labels: Labels | None) -> Labels | None:
    """Return the names and colours alone: the arrays need not be kept for a session."""
    if labels is None:
        return None
    return replace(
        labels, volume=Volume(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), np.eye(4)))
    )


def _state(node: Node) -> Hashable:
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
    points = []
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
