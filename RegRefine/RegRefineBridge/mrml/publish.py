"""Nodes out: everything a result becomes in the scene, filled again on a second run of its pair.

    nodes = publish(scene, loaded, Sources(fixed, moving, ...), wanted, chosen)    at once
    nodes = yield from publishing(scene, ..., made)                                in short steps

All data comes ready in VTK's memory (mrml/vtk_arrays.py) and is only handed over here, so that this
is quick whatever the size; the steps keep the window alive between the outputs. A node's former
data objects are replaced, never written into, so whoever holds them can put them back. A second run
with the same transform node finds its outputs by their roles (mrml/output_nodes.py); outputs that
the user has deleted are made anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from RegRefineLib.errors import RegRefineError

from ..workflow.chunked import Steps, finished
from .colours import setJacobianColours
from .output_nodes import (
    DEFAULT_OUTPUTS,
    OUTPUTS,
    ROLE,
    Sources,
    claim,
    ensureNode,
    isPresent,
    newNode,
    refer,
)
from .sample_once import sampledOnce
from .segments_out import setSegments
from .tables import setHistory, setMetrics
from .transforms import (
    Node,
    linearTransform,
    setInverseMapping,
    setMapping,
    shared,
    toVtkMatrix,
)
from .volumes import checkPresent
from .vtk_arrays import Image, Loaded


def publish(
    scene: Any,
    loaded: Loaded,
    sources: Sources,
    wanted: Collection[str] = DEFAULT_OUTPUTS,
    chosen: Mapping[str, Node] | None = None,
) -> dict[str, Node]:
    """Put a result into the scene at once and return its nodes, as `publishing` does."""
    return finished(publishing(scene, loaded, sources, wanted, chosen))


def publishing(
    scene: Any,
    loaded: Loaded,
    sources: Sources,
    wanted: Collection[str] = DEFAULT_OUTPUTS,
    chosen: Mapping[str, Node] | None = None,
    made: dict[str, Node] | None = None,
) -> Steps[dict[str, Node]]:
    """Put a result into the scene, an output a step, and return its nodes by output.

    Args:
        wanted: names of OUTPUTS; those the result has no data for are left out. `transform` is
            always there.
        chosen: nodes that the user picked to receive an output.
        made: filled with the nodes as they are filled, for whoever must undo half of it.

    Raises:
        RegRefineError: an input is no longer in the scene; a chosen node is an input, or the fixed
            volume is under it.
    """
    chosen = dict(chosen or {})
    nodes = {} if made is None else made
    checkPresent(sources.fixed, "fixed volume")
    checkPresent(sources.moving, "moving volume")
    checkChosen(chosen, [sources.fixed, sources.moving, sources.movingLandmarks], sources.fixed)
    if sources.bend is not None:
        loaded = yield from _sampledOnce(loaded, sources, wanted)
    anchor = chosen.get("transform") or newNode(scene, "transform", sources)
    nodes["transform"] = anchor
    anchor.SetAndObserveTransformNodeID(None)
    setMapping(anchor, [*loaded.transform, *_tail(sources)])
    refer(anchor, sources.fixed, sources.moving)
    claim(anchor, "transform", sources.fixed, sources.moving)
    run = _Run(scene, anchor, sources, loaded, chosen, nodes)
    for output in OUTPUTS:
        if output in wanted and output in _FILLERS and run.has(output):
            yield
            _FILLERS[output](run, run.node(output))
    return nodes


def _sampledOnce(loaded: Loaded, sources: Sources, wanted: Collection[str]) -> Steps[Loaded]:
    """Return a result whose warped images were interpolated once, not also on the way in."""
    image = labels = None
    if "warpedVolume" in wanted:
        image = yield from sampledOnce(loaded, sources, labels=False)
    if "warpedSegmentation" in wanted and isPresent(sources.movingSegmentation):
        labels = yield from sampledOnce(loaded, sources, labels=True)
    return replace(
        loaded,
        warped=loaded.warped if image is None else image,
        labels=loaded.labels if labels is None else labels,
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """What the fillers need: where to put what."""

    scene: Any
    anchor: Node
    sources: Sources
    loaded: Loaded
    chosen: Mapping[str, Node]
    nodes: dict[str, Node]

    def node(self, output: str) -> Node:
        node = self.chosen.get(output)
        if node is None:
            node = ensureNode(self.scene, self.anchor, output, self.sources)
        else:
            self.anchor.SetNodeReferenceID(ROLE + output, node.GetID())
        claim(node, output, self.sources.fixed, self.sources.moving)
        self.nodes[output] = node
        return node

    def has(self, output: str) -> bool:
        """Whether the result holds what the output shows."""
        loaded = self.loaded
        return {
            "warpedSegmentation": loaded.labels is not None,
            "warpedLandmarks": isPresent(self.sources.movingLandmarks),
            "jacobian": loaded.jacobian is not None,
            "displacement": loaded.displacement is not None,
            "chart": bool(loaded.record["history"]),
        }.get(output, True)


def checkChosen(chosen: Mapping[str, Node], inputs: Collection[Node], fixed: Node) -> None:
    """See that no chosen node is an input, and that the fixed volume is not under a chosen one.

    Raises:
        RegRefineError: one is; the message names it.
    """
    for output, node in chosen.items():
        if node is not None and node in inputs:
            raise RegRefineError(
                f"{output}: {node.GetName()} is an input, and inputs are never changed; "
                "choose another node or a new one"
            )
    transform, parent = chosen.get("transform"), fixed.GetParentTransformNode()
    while transform is not None and parent is not None:
        if parent is transform:
            raise RegRefineError(
                f"transform: the fixed volume is under {transform.GetName()}; choose another"
            )
        parent = parent.GetParentTransformNode()


def _toMoving(sources: Sources) -> Any:
    """Return the mapping from the world into the moving node's own coordinates."""
    if sources.bend is not None:
        return sources.bend
    place = np.eye(4) if sources.movingToWorld is None else sources.movingToWorld
    return linearTransform(np.linalg.inv(place))


def _tail(sources: Sources) -> list[Any]:
    """Return what follows on the way from the world into the moving node's own coordinates."""
    return [] if sources.bend is None else [sources.bend]


def _newDisplay(node: Node, window: float, level: float) -> Node:
    """Return a volume's display node if there was none, its window set; else None.

    To be called before the image comes: Slicer would look for a window of its own, voxel by voxel.
    """
    if node.GetDisplayNode() is not None:
        return None
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window, level)
    return display


def _setVolume(node: Node, image: Image | None) -> None:
    if image is None:
        return
    node.SetAndObserveImageData(image.data)
    node.SetIJKToRASMatrix(toVtkMatrix(image.geometry.affine))
    node.SetAndObserveTransformNodeID(None)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def _fillInverse(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    setInverseMapping(node, [*shared(run.loaded.transform), *_tail(run.sources)])
    refer(node, run.sources.moving, run.sources.fixed)


def _fillLinear(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    sources, linear = run.sources, run.loaded.affine
    if sources.movingToWorld is not None:
        linear = np.linalg.inv(sources.movingToWorld) @ linear
    if sources.bend is None:
        node.SetMatrixTransformFromParent(toVtkMatrix(linear))
    else:
        setMapping(node, [linearTransform(linear), sources.bend])
    refer(node, sources.fixed, sources.moving)


def _fillWarpedVolume(run: _Run, node: Node) -> None:
    source = run.sources.moving.GetDisplayNode()
    if source is not None:
        display = _newDisplay(node, source.GetWindow(), source.GetLevel())
        if display is not None:
            display.SetAndObserveColorNodeID(source.GetColorNodeID())
    _setVolume(node, run.loaded.warped)


def _fillWarpedSegmentation(run: _Run, node: Node) -> None:
    node.SetAndObserveTransformNodeID(None)
    labels = run.sources.movingLabels
    structures = labels.structures if labels is not None else {}
    setSegments(node, run.loaded.labels, run.loaded.labelValues, structures)


def _fillWarpedLandmarks(run: _Run, node: Node) -> None:
    source = run.sources.movingLandmarks
    toMoving, toFixed = _toMoving(run.sources), run.anchor.GetTransformToParent()
    node.SetAndObserveTransformNodeID(None)
    node.RemoveAllControlPoints()
    for index in range(source.GetNumberOfControlPoints()):
        if source.GetNthControlPointPositionStatus(index) == source.PositionDefined:
            point = [0.0, 0.0, 0.0]
            source.GetNthControlPointPositionWorld(index, point)
            moved = toFixed.TransformPoint(toMoving.TransformPoint(point))
            node.AddControlPoint(*moved, source.GetNthControlPointLabel(index))


def _fillJacobian(run: _Run, node: Node) -> None:
    colours = run.node("jacobianColours")
    window, level = setJacobianColours(colours)
    display = _newDisplay(node, window, level) or node.GetDisplayNode()
    if display is not None:
        display.SetAndObserveColorNodeID(colours.GetID())
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window, level)
    _setVolume(node, run.loaded.jacobian)


def _fillDisplacement(run: _Run, node: Node) -> None:
    longest = run.loaded.record["after"].get("largest_mm") or 1.0
    _newDisplay(node, longest, longest / 2)
    _setVolume(node, run.loaded.displacement)


def _fillMetrics(run: _Run, node: Node) -> None:
    names: dict[int, str] = {}
    for labels in (run.sources.movingLabels, run.sources.fixedLabels):
        names |= labels.names if labels is not None else {}
    setMetrics(node, run.loaded.record, names)


def _fillChart(run: _Run, node: Node) -> None:
    sources = run.sources
    title = f"{sources.moving.GetName()} to {sources.fixed.GetName()}"
    setHistory(node, run.node("history"), run.loaded.record["history"], title)


_FILLERS = {
    "inverse": _fillInverse,
    "linear": _fillLinear,
    "warpedVolume": _fillWarpedVolume,
    "warpedSegmentation": _fillWarpedSegmentation,
    "warpedLandmarks": _fillWarpedLandmarks,
    "jacobian": _fillJacobian,
    "displacement": _fillDisplacement,
    "metrics": _fillMetrics,
    "chart": _fillChart,
}
