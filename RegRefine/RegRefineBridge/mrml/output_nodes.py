"""The outputs there are, and their nodes: made once for a pair, found again on its next run.

The transform node is the anchor: it refers to every other output (reference role
"RegRefine.<output>"), and to the fixed and the moving volume under Slicer's own registration roles.
Every output carries the attribute "RegRefine.output" (its name below) and refers to the two volumes
it belongs to, also after a scene was saved and loaded.

New nodes lie beside the fixed volume in the subject hierarchy (in its study), those that only help
(HELPERS: tables, chart) in a folder of the pair; nodes that were moved since stay where they are.

Outputs: transform, inverse, linear, warpedVolume, warpedSegmentation, warpedLandmarks, jacobian,
displacement, metrics (a table), and chart with its table, history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from RegRefineLib.geometry import FloatArray

from .structures import Labels
from .transforms import Node

ROLE = "RegRefine."
OUTPUT_ATTRIBUTE = "RegRefine.output"
FIXED_ROLE, MOVING_ROLE = "RegRefine.fixed", "RegRefine.moving"
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
HELPERS = ("metrics", "history", "chart")
HIDDEN = ("jacobianColours",)  # kept out of lists and of the subject hierarchy


@dataclass(frozen=True, eq=False)
class Sources:
    """The nodes a result was computed from, and what is known of their labels.

    Attributes:
        movingLabels: structures of the warped segmentation, by value.
        fixedLabels: more structures, for the table of metrics.
        movingLandmarks: the markups node to be warped.
        bend: what the moving volume was under when it was read, if that bends (transforms.bend).
        movingToWorld: the same where it is linear, a 4x4.
        movingSegmentation: the node of movingLabels, sampled once more where there is a bend.
    """

    fixed: Node
    moving: Node
    movingLabels: Labels | None = None
    fixedLabels: Labels | None = None
    movingLandmarks: Node = None
    bend: Any = None
    movingToWorld: FloatArray | None = None
    movingSegmentation: Node = None


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


def newNode(scene: Any, output: str, sources: Sources) -> Node:
    """Make a node for an output, named by the volumes and beside the fixed one."""
    className, pattern = OUTPUTS[output]
    name = pattern.format(fixed=sources.fixed.GetName(), moving=sources.moving.GetName())
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
    if output in HIDDEN:
        node.SetHideFromEditors(True)
    elif output in HELPERS:
        _place(scene, node, _folder(scene, sources))
    else:
        placeBeside(scene, node, sources.fixed)
    return node


def claim(node: Node, output: str, fixed: Node, moving: Node) -> None:
    """Note in a node which output of which pair it is."""
    node.SetAttribute(OUTPUT_ATTRIBUTE, output)
    node.SetNodeReferenceID(FIXED_ROLE, fixed.GetID())
    node.SetNodeReferenceID(MOVING_ROLE, moving.GetID())


def isOutput(node: Node) -> bool:
    """Return whether a node was filled by RegRefine; selectors offer such nodes last."""
    return node is not None and bool(node.GetAttribute(OUTPUT_ATTRIBUTE))


def pairOf(node: Node) -> tuple[Node, Node] | None:
    """Return the (fixed, moving) volumes that a node's content belongs to, or None if to no pair.

    Each is None where it is no longer in the scene. Transforms of other registration modules, which
    note their volumes in Slicer's own roles, count as well.
    """
    roles = [(FIXED_ROLE, MOVING_ROLE)]
    if node.IsA("vtkMRMLTransformNode"):
        kind = slicer.vtkMRMLTransformNode
        roles.append((kind.GetFixedNodeReferenceRole(), kind.GetMovingNodeReferenceRole()))
    for fixed, moving in roles:
        if node.GetNodeReferenceID(fixed) or node.GetNodeReferenceID(moving):
            return node.GetNodeReference(fixed), node.GetNodeReference(moving)
    return None


def placeBeside(scene: Any, node: Node, neighbour: Node) -> None:
    """Put a node beside another in the subject hierarchy, that is into the same study or folder."""
    hierarchy = _hierarchy(scene)
    if hierarchy is not None and isPresent(neighbour):
        _place(scene, node, _parentOf(hierarchy, neighbour))


def removeEmptyFolder(scene: Any, item: int) -> None:
    """Remove a folder of a pair from the subject hierarchy if nothing is left in it."""
    hierarchy = _hierarchy(scene)
    if hierarchy is None or not item or not hierarchy.GetItemAttribute(item, OUTPUT_ATTRIBUTE):
        return
    if not hierarchy.GetNumberOfItemChildren(item):
        hierarchy.RemoveItem(item)


def takeOutOfHierarchy(scene: Any, node: Node) -> int:
    """Remove a node's item from the subject hierarchy; return the item it lay in, 0 for none."""
    hierarchy = _hierarchy(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if not item:
        return 0
    parent: int = hierarchy.GetItemParent(item)
    hierarchy.RemoveItem(item, False, False)  # neither the node nor children
    return parent


def isPresent(node: Node) -> bool:
    """Return whether there is a node, and in a scene."""
    return node is not None and node.GetScene() is not None


def refer(node: Node, fixed: Node, moving: Node) -> None:
    """Note in a transform which volumes it belongs to, as Slicer's registrations do."""
    kind = slicer.vtkMRMLTransformNode
    for role, volume in (
        (kind.GetFixedNodeReferenceRole(), fixed),
        (kind.GetMovingNodeReferenceRole(), moving),
    ):
        node.SetNodeReferenceID(role, volume.GetID())


def _hierarchy(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _parentOf(hierarchy: Any, node: Node) -> int:
    place = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemParent(place) if place else hierarchy.GetSceneItemID()


def _place(scene: Any, node: Node, parent: int) -> None:
    hierarchy = _hierarchy(scene)
    if hierarchy is None or not parent:
        return
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # Slicer's plugins make the items; a bare scene has none
        hierarchy.CreateItem(parent, node)


def _folder(scene: Any, sources: Sources) -> int:
    """Return the folder of a pair's helpers, made beside the fixed volume if it is not there."""
    hierarchy = _hierarchy(scene)
    if hierarchy is None:
        return 0
    parent = _parentOf(hierarchy, sources.fixed)
    pair = f"{sources.fixed.GetID()} {sources.moving.GetID()}"
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(parent, children)
    for index in range(children.GetNumberOfIds()):
        item = children.GetId(index)
        if hierarchy.GetItemAttribute(item, OUTPUT_ATTRIBUTE) == pair:
            return item
    name = f"{sources.moving.GetName()} to {sources.fixed.GetName()}: tables and charts"
    item = hierarchy.CreateFolderItem(parent, name)
    hierarchy.SetItemAttribute(item, OUTPUT_ATTRIBUTE, pair)
    hierarchy.SetItemExpanded(item, False)
    return item
