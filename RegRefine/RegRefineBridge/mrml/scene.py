"""The presenter's Scene on MRML: checks, reads, publishes and puts back nodes."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras
from RegRefineLib.worker.scene_result import Ready

from ..i18n import _
from ..workflow.interfaces import Inputs, Material, Nodes, PairSize, Request
from .input_checks import hasContent, hasVoxels, landmarksWrong, stateOf, wrongKinds
from .output_nodes import (
    OUTPUTS,
    Sources,
    outputNode,
    pairOf,
    removeEmptyFolder,
    takeOutOfHierarchy,
)
from .publish import checkChosen, publishing
from .segmentations import labelsFromNode, maskFromNode
from .segments_out import emptied, release
from .structures import Labels, unmatched
from .transforms import Node, bend, initialFromNode, matrixToWorld
from .volumes import landmarksFromNode, volumeFromNode
from .vtk_arrays import Loaded, load

VOLUMES = ("fixed", "moving")


@dataclass(frozen=True, eq=False)
class Memento:
    """What was there before a publication.

    Attributes:
        copies: by node ID, a copy of each node that a publication may fill. It shares the data
            objects, which publishing replaces and never writes into.
    """

    copies: Mapping[str, Node] = field(default_factory=dict)


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
        wrong = wrongKinds(inputs)
        if wrong:
            return [*sentences, *wrong]
        for name, node in inputs.given().items():
            if not self._isHere(node):
                sentences.append(
                    _("{name} was removed from the scene; choose another.").format(
                        name=node.GetName()
                    )
                )
            elif name in VOLUMES and not hasVoxels(node):
                sentences.append(_("{name} has no voxels.").format(name=node.GetName()))
        return sentences or landmarksWrong(inputs)

    def refused(self, request: Request) -> list[str]:
        """Return a sentence where a chosen node cannot receive an output; shown before the run."""
        inputs = request.inputs.given()
        inputs.pop("initialTransform", None)  # may be refined in place
        try:
            checkChosen(self._chosen(request), list(inputs.values()), request.inputs.fixed)
        except RegRefineError as error:
            return [str(error)]
        return []

    def overwritten(self, request: Request) -> list[str]:
        """Return a sentence for each chosen node whose content is not this pair's own result.

        Such a node is filled only after a yes. The initial transform may be refined in place.
        """
        inputs = request.inputs
        sentences = []
        for node in self._chosen(request).values():
            if node is inputs.initialTransform or not hasContent(node):
                continue
            pair = pairOf(node)
            if pair == (inputs.fixed, inputs.moving):
                continue
            if pair is None:
                text = _("{name} is not empty; its content will be replaced.")
                sentences.append(text.format(name=node.GetName()))
            else:
                names = [_("a removed volume") if each is None else each.GetName() for each in pair]
                text = _("{name} holds the result of {moving} to {fixed}, which will be replaced.")
                sentences.append(text.format(name=node.GetName(), moving=names[1], fixed=names[0]))
        return sentences

    def names(self, inputs: Inputs) -> tuple[str, str]:
        """Return the names of the fixed and the moving volume."""
        return inputs.fixed.GetName(), inputs.moving.GetName()

    def size(self, inputs: Inputs) -> PairSize | None:
        """Return how large the volumes are, or None where they are not both there."""
        volumes = (inputs.fixed, inputs.moving)
        if not all(node is not None and self._isHere(node) and hasVoxels(node) for node in volumes):
            return None
        fixed, moving = (node.GetImageData().GetNumberOfPoints() for node in volumes)
        return PairSize(fixed, moving, tuple(inputs.fixed.GetSpacing()))

    def fingerprint(self, inputs: Inputs) -> Hashable:
        """Return what changes when an input's data or place does; None when one is gone."""
        nodes = inputs.given()
        if not all(self._isHere(node) for node in nodes.values()):
            return None
        return tuple((name, node.GetID(), stateOf(node)) for name, node in nodes.items())

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
            movingSegmentation=inputs.movingSegmentation,
        )
        remarks = tuple(filter(None, [unmatched(*labels)]))
        return Material(fixed, moving, extras, sources, place, remarks)

    def remember(self, request: Request) -> Memento:
        """Return copies of the chosen outputs, and of those that a chosen transform refers to."""
        chosen = self._chosen(request)
        filled = list(chosen.values())
        if "transform" in chosen:
            filled += [outputNode(chosen["transform"], output) for output in OUTPUTS]
        copies = {}
        for node in filled:
            if node is not None and node.GetID() not in copies:
                copies[node.GetID()] = self._copied(node)
        return Memento(copies)

    def load(self, ready: Ready) -> Generator[None, None, Loaded]:
        """Return a result in VTK's memory, in short steps; the scene is not touched."""
        return load(ready)

    def publish(
        self, loaded: Loaded, request: Request, sources: Sources, made: dict[str, Node]
    ) -> Generator[None, None, Nodes]:
        """Put a result into the scene, in short steps, and return its nodes by output.

        Args:
            made: filled with the nodes as they are filled, for `putBack`.

        Raises:
            RegRefineError: as publish.publishing.
        """
        return publishing(self._scene, loaded, sources, request.wanted, self._chosen(request), made)

    def putBack(self, nodes: Nodes, memento: Memento) -> None:
        """Undo a publication: nodes it made go, nodes it filled are as before."""
        transform = nodes.get("transform")
        doomed = dict(nodes)
        if transform is not None and self._isHere(transform):
            for output in ("jacobianColours", "history"):
                node = outputNode(transform, output)
                doomed |= {} if node is None else {output: node}
        self._scene.StartState(self._scene.BatchProcessState)
        try:
            for node in doomed.values():
                if not self._isHere(node):
                    continue
                copy = memento.copies.get(node.GetID())
                if copy is None:
                    self._remove(node)
                else:
                    self._fillAgain(node, copy)
        finally:
            self._scene.EndState(self._scene.BatchProcessState)

    def forget(self, memento: Memento) -> None:
        """Let go of a memento that will not be put back."""
        for copy in memento.copies.values():
            if copy.IsA("vtkMRMLSegmentationNode"):
                emptied(copy)

    def _fillAgain(self, node: Node, copy: Node) -> None:
        former = node.GetSegmentation() if node.IsA("vtkMRMLSegmentationNode") else None
        node.CopyContent(copy, not _isReplaced(node))
        release(former)

    def _copied(self, node: Node) -> Node:
        copy = self._scene.CreateNodeByClass(node.GetClassName())
        copy.UnRegister(None)  # Python's own reference is enough
        copy.CopyContent(node, not _isReplaced(node))
        return copy

    def _remove(self, node: Node) -> None:
        """Remove a node with those that are only there for it."""
        series = []
        if node.IsA("vtkMRMLPlotChartNode"):
            count = node.GetNumberOfPlotSeriesNodes()
            series = [node.GetNthPlotSeriesNode(index) for index in range(count)]
        folder = takeOutOfHierarchy(self._scene, node)
        displays = [
            node.GetNthDisplayNode(n)
            for n in range(
                node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
            )
        ]
        if node.IsA("vtkMRMLSegmentationNode"):
            emptied(node)
        self._scene.RemoveNode(node)
        for each in (*displays, *series):
            if each is not None and self._isHere(each):
                self._scene.RemoveNode(each)
        removeEmptyFolder(self._scene, folder)

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
    kinds = ("Transform", "Volume", "Segmentation", "Table")
    return any(node.IsA(f"vtkMRML{kind}Node") for kind in kinds)


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
