"""How a panel follows its parameter node: through opening, leaving, closing and new scenes.

The pattern is that of Slicer's own module template.
"""

from __future__ import annotations

import slicer
import vtk


class FollowsParameters:
    """For a module's widget, which has logic, ui and VTKObservationMixin.

    The widget calls followScene() at the end of its setup, and defines onParametersChanged(caller,
    event), called when a parameter changed, and sceneClosing().
    """

    _parameterNode = None
    _parameterNodeGuiTag = None

    def followScene(self):
        """Begin: watch the scene and show its parameters."""
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
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

    def onSceneEndClose(self, caller, event):
        """Begin anew in the empty scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the scene's parameters."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        """Show these parameters, or none, and follow them."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged
            )
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged
            )
            self.onParametersChanged()
