"""How a panel follows its parameters and the chosen nodes, in new, imported and closing scenes.

The pattern is that of Slicer's own module template. Changes come in bursts (a slider, a scene that
is read, a segment for each structure), so they are answered once, a moment after the last.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

SETTLED_MS = 100
# node class -> what else than ModifiedEvent says that its data or its name changed
NODE_EVENTS = {
    "vtkMRMLVolumeNode": ("ImageDataModifiedEvent",),
    "vtkMRMLTransformableNode": ("TransformModifiedEvent",),
    "vtkMRMLMarkupsNode": (
        *("PointAddedEvent", "PointRemovedEvent"),
        *("PointPositionDefinedEvent", "PointPositionUndefinedEvent"),
    ),
}
SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "RepresentationModified")


class FollowsParameters:
    """For a module's widget, which has logic, ui, newTimer and VTKObservationMixin.

    The widget calls followScene() at the end of its setup, and defines onParametersChanged(),
    called when parameters or chosen nodes have changed, chosenNodes(), the nodes to be watched, and
    sceneClosing().
    """

    _parameterNode: Any = None
    _parameterNodeGuiTag: Any = None
    _watched: tuple[Any, ...] = ()

    def followScene(self):
        """Begin: watch the scene and show its parameters."""
        self._settling = self.newTimer(self.settle, SETTLED_MS)
        self._settling.setSingleShot(True)
        scene = slicer.mrmlScene
        for event, slot in (
            (scene.StartCloseEvent, self.onSceneStartClose),
            (scene.EndCloseEvent, self.onSceneEnd),
            (scene.StartImportEvent, self.onSceneStartImport),
            (scene.EndImportEvent, self.onSceneEnd),
            (scene.EndBatchProcessEvent, self.onChanged),
            (scene.NodeRemovedEvent, self.onChanged),
        ):
            self.addObserver(scene, event, slot)
        self.initializeParameterNode()

    def enter(self):
        """Show the parameters when the panel is opened."""
        self.initializeParameterNode()

    def exit(self):
        """Let go of the parameters while another panel is open; a run goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """Let go of everything: the scene goes."""
        self.setParameterNode(None)
        self.sceneClosing()

    def onSceneStartImport(self, caller, event):
        """Let go of the parameters while a scene is read: they are replaced by its own."""
        self.setParameterNode(None)

    def onSceneEnd(self, caller, event):
        """Take the parameters of the scene that is there now."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the scene's parameters."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        """Show these parameters, or none, and follow them."""
        self._settling.stop()
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
        self._parameterNode = parameterNode
        self.watch(())
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
            self.settle()

    def onChanged(self, caller=None, event=None):
        """Answer a change once no other has come for a moment."""
        if self._parameterNode and not slicer.mrmlScene.IsBatchProcessing():
            self._settling.start()

    def settle(self):
        """Answer all changes so far, now."""
        self._settling.stop()
        if self._parameterNode:
            self.watch(self.chosenNodes())
            self.onParametersChanged()

    def watch(self, nodes):
        """Watch these nodes, and no longer those before."""
        nodes = tuple(node for node in nodes if node is not None)
        if nodes == self._watched:
            return
        for thing, event in eventsOf(self._watched):
            if self.hasObserver(thing, event, self.onChanged):
                self.removeObserver(thing, event, self.onChanged)
        self._watched = nodes
        for thing, event in eventsOf(nodes):
            if not self.hasObserver(thing, event, self.onChanged):
                self.addObserver(thing, event, self.onChanged)


def eventsOf(nodes):
    """Return (object, event) for whatever says that one of the nodes has changed."""
    found = []
    for node in nodes:
        found.append((node, vtk.vtkCommand.ModifiedEvent))
        for kind, names in NODE_EVENTS.items():
            if node.IsA(kind):
                found += [(node, getattr(node, name)) for name in names]
        if node.IsA("vtkMRMLSegmentationNode") and node.GetSegmentation():
            segmentation = node.GetSegmentation()
            found += [(segmentation, getattr(segmentation, name)) for name in SEGMENT_EVENTS]
    return found
