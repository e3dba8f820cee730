"""Nodes out: everything a result becomes in the scene, made once and filled again on a second run.

    nodes = publish(scene, result, Sources(fixed, moving, ...), wanted, chosen)

The transform node is the anchor: it refers to every other output (reference role
"RegRefine.<output>"), and to the fixed and the moving volume under Slicer's own registration roles.
A second run with the same transform node finds its outputs by these roles and replaces their data;
outputs the user has deleted are made anew. New nodes lie beside the fixed volume in the subject
hierarchy (in its study); nodes that were moved since stay where they are.

Outputs: transform, inverse, linear, warpedVolume, warpedSegmentation, warpedLandmarks, jacobian,
displacement, figures (a table), and chart with its table, history.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.job import RegRefineError, Result

from .charts import FIGURE_COLUMNS, setFigures, setHistory
from .labels import Labels
from .nodes import checkPresent
from .segments import setSegments
from .transforms import Node, fromWorld, setInverse, setLinear, setTransform, toVtkMatrix

ROLE = "RegRefine."
# output -> class of its node, name by the moving volume's name
OUTPUTS = {
    "transform": ("vtkMRMLTransformNode", "{moving} to {fixed}"),
    "inverse": ("vtkMRMLTransformNode", "{fixed} to {moving} (inverse)"),
    "linear": ("vtkMRMLLinearTransformNode", "{moving} to {fixed} (linear part)"),
    "warpedVolume": ("vtkMRMLScalarVolumeNode", "{moving} warped"),
    "warpedSegmentation": ("vtkMRMLSegmentationNode", "{moving} warped segmentation"),
    "warpedLandmarks": ("vtkMRMLMarkupsFiducialNode", "{moving} warped landmarks"),
    "jacobian": ("vtkMRMLScalarVolumeNode", "{moving} Jacobian"),
    "displacement": ("vtkMRMLScalarVolumeNode", "{moving} displacement in mm"),
    "figures": ("vtkMRMLTableNode", "{moving} figures"),
    "history": ("vtkMRMLTableNode", "{moving} history"),
    "chart": ("vtkMRMLPlotChartNode", "{moving} chart"),
    "jacobianColours": ("vtkMRMLProceduralColorNode", "RegRefine Jacobian colours"),
}
DEFAULT_OUTPUTS = ("transform", "warpedVolume", "warpedSegmentation", "figures", "chart")
# determinant -> colour: folds magenta, squeezed red, unchanged white, stretched blue
JACOBIAN_COLOURS = (
    (-0.001, (0.8, 0.0, 0.8)),
    (0.0, (0.7, 0.0, 0.1)),
    (1.0, (1.0, 1.0, 1.0)),
    (2.0, (0.0, 0.3, 0.7)),
)


@dataclass(frozen=True, eq=False)
class Sources:
    """The nodes a result was computed from, and what is known of their labels.

    Attributes:
        movingLabels: names and colours for the warped segmentation.
        fixedLabels: more names for the table of figures.
        movingLandmarks: the markups node to be warped.
    """

    fixed: Node
    moving: Node
    movingLabels: Labels | None = None
    fixedLabels: Labels | None = None
    movingLandmarks: Node = None


def publish(
    scene: Any,
    result: Result,
    sources: Sources,
    wanted: Collection[str] = DEFAULT_OUTPUTS,
    chosen: Mapping[str, Node] | None = None,
) -> dict[str, Node]:
    """Put a result into the scene and return its nodes by output; `transform` is always there.

    Args:
        wanted: names of OUTPUTS; those the result has no data for are left out.
        chosen: nodes that the user picked to receive an output.

    Raises:
        RegRefineError: an input is no longer in the scene; a chosen node is an input, or the fixed
            volume is under it.
    """
    chosen = dict(chosen or {})
    checkPresent(sources.fixed, "fixed volume")
    checkPresent(sources.moving, "moving volume")
    _checkChosen(chosen, sources)
    anchor = chosen.get("transform") or _newNode(scene, "transform", sources)
    anchor.SetAndObserveTransformNodeID(None)
    setTransform(anchor, result.field, result.affine, sources.moving)
    _refer(anchor, sources.fixed, sources.moving)
    run = _Run(scene, anchor, sources, result, chosen)
    nodes = {"transform": anchor}
    for output in OUTPUTS:
        if output in wanted and output in _FILLERS and run.has(output):
            nodes[output] = run.node(output)
            _FILLERS[output](run, nodes[output])
    if "chart" in nodes:
        nodes["history"] = run.node("history")
    return nodes


def outputNode(anchor: Node, output: str) -> Node:
    """Return the node that an earlier run made for an output of this transform node, or None."""
    return anchor.GetNodeReference(ROLE + output)


def ensureNode(scene: Any, anchor: Node, output: str, sources: Sources) -> Node:
    """Return the node of an output, made if it is not there: for live charts during a run."""
    node = outputNode(anchor, output)
    if node is None:
        node = _newNode(scene, output, sources)
        anchor.SetNodeReferenceID(ROLE + output, node.GetID())
    return node


def placeBeside(scene: Any, node: Node, neighbour: Node) -> None:
    """Put a node beside another in the subject hierarchy, that is into the same study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None or not _isPresent(neighbour):
        return
    place = hierarchy.GetItemByDataNode(neighbour)
    parent = hierarchy.GetItemParent(place) if place else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # Slicer's plugins make the items; a bare scene has none
        hierarchy.CreateItem(parent, node)


@dataclass(frozen=True, eq=False)
class _Run:
    """What the fillers need: where to put what."""

    scene: Any
    anchor: Node
    sources: Sources
    result: Result
    chosen: Mapping[str, Node]

    def node(self, output: str) -> Node:
        node = self.chosen.get(output)
        if node is None:
            return ensureNode(self.scene, self.anchor, output, self.sources)
        self.anchor.SetNodeReferenceID(ROLE + output, node.GetID())
        return node

    def has(self, output: str) -> bool:
        """Whether the result holds what the output shows."""
        result = self.result
        return {
            "inverse": result.inverse is not None,
            "warpedSegmentation": result.warped_labels is not None,
            "warpedLandmarks": _isPresent(self.sources.movingLandmarks),
            "jacobian": result.jacobian is not None,
            "chart": bool(result.history),
        }.get(output, True)


def _isPresent(node: Node) -> bool:
    return node is not None and node.GetScene() is not None


def _checkChosen(chosen: Mapping[str, Node], sources: Sources) -> None:
    inputs = [sources.fixed, sources.moving, sources.movingLandmarks]
    for output, node in chosen.items():
        if node is not None and node in inputs:
            raise RegRefineError(
                f"{output}: {node.GetName()} is an input, and inputs are never changed; "
                "choose another node or a new one"
            )
    transform, parent = chosen.get("transform"), sources.fixed.GetParentTransformNode()
    while transform is not None and parent is not None:
        if parent is transform:
            raise RegRefineError(
                f"transform: the fixed volume is under {transform.GetName()}; choose another"
            )
        parent = parent.GetParentTransformNode()


def _newNode(scene: Any, output: str, sources: Sources) -> Node:
    className, pattern = OUTPUTS[output]
    name = pattern.format(fixed=sources.fixed.GetName(), moving=sources.moving.GetName())
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
    placeBeside(scene, node, sources.fixed)
    return node


def _refer(node: Node, fixed: Node, moving: Node) -> None:
    kind = slicer.vtkMRMLTransformNode
    for role, volume in (
        (kind.GetFixedNodeReferenceRole(), fixed),
        (kind.GetMovingNodeReferenceRole(), moving),
    ):
        node.SetNodeReferenceID(role, volume.GetID())


def _setVolume(node: Node, volume: Volume) -> None:
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(toVtkMatrix(volume.geometry.affine))
    node.SetAndObserveTransformNodeID(None)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def _fillInverse(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    setInverse(node, run.result.inverse, run.result.affine, run.sources.moving)
    _refer(node, run.sources.moving, run.sources.fixed)


def _fillLinear(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    setLinear(node, run.result.affine, run.sources.moving)
    _refer(node, run.sources.fixed, run.sources.moving)


def _fillWarpedVolume(run: _Run, node: Node) -> None:
    fresh = node.GetDisplayNode() is None
    _setVolume(node, run.result.warped)
    source = run.sources.moving.GetDisplayNode()
    if fresh and source is not None and node.GetDisplayNode() is not None:
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(source.GetColorNodeID())
        display.SetAutoWindowLevel(source.GetAutoWindowLevel())
        display.SetWindowLevel(source.GetWindow(), source.GetLevel())


def _fillWarpedSegmentation(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    labels = run.sources.movingLabels
    names, colours = (labels.names, labels.colours) if labels is not None else ({}, {})
    setSegments(node, Labels(run.result.warped_labels, names, colours))


def _fillWarpedLandmarks(run: _Run, node: Node) -> None:
    source = run.sources.movingLandmarks
    toMoving, toFixed = fromWorld(run.sources.moving), run.anchor.GetTransformToParent()
    node.SetAndObserveTransformNodeID(None)
    node.RemoveAllControlPoints()
    for index in range(source.GetNumberOfControlPoints()):
        if source.GetNthControlPointPositionStatus(index) == source.PositionDefined:
            point = [0.0, 0.0, 0.0]
            source.GetNthControlPointPositionWorld(index, point)
            moved = toFixed.TransformPoint(toMoving.TransformPoint(point))
            node.AddControlPoint(*moved, source.GetNthControlPointLabel(index))


def _fillJacobian(run: _Run, node: Node) -> None:
    _setVolume(node, run.result.jacobian)
    colours = run.node("jacobianColours")
    function = vtk.vtkDiscretizableColorTransferFunction()
    for determinant, colour in JACOBIAN_COLOURS:
        function.AddRGBPoint(determinant, *colour)
    colours.SetAndObserveColorTransferFunction(function)
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAndObserveColorNodeID(colours.GetID())
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(2.0, 1.0)


def _fillDisplacement(run: _Run, node: Node) -> None:
    _setVolume(node, magnitude(run.result.field))


def magnitude(field: DisplacementField) -> Volume:
    """Return how far each point of the fixed grid is moved, in mm."""
    return Volume(np.linalg.norm(field.vectors, axis=-1), field.geometry)


def _fillFigures(run: _Run, node: Node) -> None:
    names: dict[int, str] = {}
    for labels in (run.sources.movingLabels, run.sources.fixedLabels):
        names |= labels.names if labels is not None else {}
    result = run.result
    stages = (result.before, result.affine_only, result.after)
    setFigures(node, dict(zip(FIGURE_COLUMNS, stages, strict=True)), names)


def _fillChart(run: _Run, node: Node) -> None:
    setHistory(node, run.node("history"), run.result.history, run.sources.moving.GetName())


_FILLERS = {
    "inverse": _fillInverse,
    "linear": _fillLinear,
    "warpedVolume": _fillWarpedVolume,
    "warpedSegmentation": _fillWarpedSegmentation,
    "warpedLandmarks": _fillWarpedLandmarks,
    "jacobian": _fillJacobian,
    "displacement": _fillDisplacement,
    "figures": _fillFigures,
    "chart": _fillChart,
}
