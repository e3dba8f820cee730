"""The outputs there are, and their nodes: made once, found again on a second run.

The transform node is the anchor: it refers to every other output (reference role
"RegRefine.<output>"), and to the fixed and the moving volume under Slicer's own registration roles.
New nodes lie beside the fixed volume in the subject hierarchy (in its study); nodes that were moved
since stay where they are.

Outputs: transform, inverse, linear, warpedVolume, warpedSegmentation, warpedLandmarks, jacobian,
displacement, metrics (a table), and chart with its table, history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from RegRefineLib.geometry import FloatArray

from .segmentations import Labels
from .transforms import Node

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
    "metrics": ("vtkMRMLTableNode", "{moving} metrics"),
    "history": ("vtkMRMLTableNode", "{moving} history"),
    "chart": ("vtkMRMLPlotChartNode", "{moving} chart"),
    "jacobianColours": ("vtkMRMLProceduralColorNode", "RegRefine Jacobian colours"),
}
DEFAULT_OUTPUTS = ("transform", "warpedVolume", "warpedSegmentation", "metrics", "chart")


@dataclass(frozen=True, eq=False)
class Sources:
    """The nodes a result was computed from, and what is known of their labels.

    Attributes:
        movingLabels: names and colours for the warped segmentation.
        fixedLabels: more names for the table of metrics.
        movingLandmarks: the markups node to be warped.
        bend: what the moving volume was under when it was read, if that bends (transforms.bend).
        movingToWorld: the same where it is linear, a 4x4.
    """

    fixed: Node
    moving: Node
    movingLabels: Labels | None = None
    fixedLabels: Labels | None = None
    movingLandmarks: Node = None
    bend: Any = None
    movingToWorld: FloatArray | None = None


def outputNode(anchor: Node, output: str) -> Node:
    """Return the node that an earlier run made for an output of this transform node, or None."""
    return anchor.GetNodeReference(ROLE + output)


def ensureNode(scene: Any, anchor: Node, output: str, sources: Sources) -> Node:
    """Return the node of an output, made if it is not there: for live charts during a run."""
    node = outputNode(anchor, output)
    if node is None:
        node = newNode(scene, output, sources)
        anchor.SetNodeReferenceID(ROLE + output, node.GetID())
    return node


def placeBeside(scene: Any, node: Node, neighbour: Node) -> None:
    """Put a node beside another in the subject hierarchy, that is into the same study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None or not isPresent(neighbour):
        return
    place = hierarchy.GetItemByDataNode(neighbour)
    parent = hierarchy.GetItemParent(place) if place else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # Slicer's plugins make the items; a bare scene has none
        hierarchy.CreateItem(parent, node)


def isPresent(node: Node) -> bool:
    """Return whether there is a node, and in a scene."""
    return node is not None and node.GetScene() is not None


def newNode(scene: Any, output: str, sources: Sources) -> Node:
    """Make a node for an output, named by the volumes and beside the fixed one."""
    className, pattern = OUTPUTS[output]
    name = pattern.format(fixed=sources.fixed.GetName(), moving=sources.moving.GetName())
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
    placeBeside(scene, node, sources.fixed)
    return node


def refer(node: Node, fixed: Node, moving: Node) -> None:
    """Note in a transform which volumes it belongs to, as Slicer's registrations do."""
    kind = slicer.vtkMRMLTransformNode
    for role, volume in (
        (kind.GetFixedNodeReferenceRole(), fixed),
        (kind.GetMovingNodeReferenceRole(), moving),
    ):
        node.SetNodeReferenceID(role, volume.GetID())
