"""How things look in the views while a mode is shown, and how they looked before.

Segmentations lie opaque over the images that are to be compared, so they become outlines; those
that do not belong to the mode are hidden. Everything is put back by `restore`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import slicer

from .colours import LEGEND_TITLE
from .transforms import Node

GRID_LINES_MM = 10.0


class Looks:
    """What was changed of display nodes, and what it was before."""

    def __init__(self) -> None:
        self._former: dict[Any, tuple[Any, ...]] = {}
        self._grid: tuple[Any, ...] | None = None
        self._legends: list[Any] = []

    def outline(self, shown: Collection[Node], hidden: Collection[Node]) -> None:
        """Show segmentation nodes as outlines, and hide others."""
        for node in shown:
            display = self._kept(node)
            if display is not None:
                display.SetVisibility(True)
                display.SetVisibility2DFill(False)
                display.SetVisibility2DOutline(True)
        for node in hidden:
            display = self._kept(node)
            if display is not None:
                display.SetVisibility(False)

    def showGrid(self, transform: Node, fixed: Node) -> None:
        """Show what a transform does to a grid of lines over the fixed volume."""
        if transform.GetDisplayNode() is None:
            transform.CreateDefaultDisplayNodes()
        display = transform.GetDisplayNode()
        if display is None:
            return
        self._grid = (display, display.GetVisibility(), display.GetVisibility2D())
        display.SetVisualizationMode(display.VIS_MODE_GRID)
        display.SetGridSpacingMm(GRID_LINES_MM)
        display.SetGridResolutionMm(GRID_LINES_MM / 5)
        display.SetAndObserveRegionNode(fixed)
        display.SetVisibility(True)
        display.SetVisibility2D(True)

    def showLegend(self, volume: Node) -> None:
        """Show what the colours of a Jacobian map mean."""
        if not volume.GetScene().IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode"):
            return  # a scene without Slicer's Colors module
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
        if legend is None:
            legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
        if legend is not None:
            legend.SetTitleText(LEGEND_TITLE)
            legend.SetNumberOfLabels(5)
            legend.SetLabelFormat("%.1f")
            legend.SetVisibility(True)
            self._legends.append(legend)

    def restore(self) -> None:
        """Put everything back as it was."""
        for display, (visible, fill, outline) in self._former.items():
            if display.GetScene() is not None:
                display.SetVisibility(visible)
                display.SetVisibility2DFill(fill)
                display.SetVisibility2DOutline(outline)
        self._former.clear()
        if self._grid is not None:
            display, visible, visible2D = self._grid
            if display.GetScene() is not None:
                display.SetVisibility2D(visible2D)
                display.SetVisibility(visible)
            self._grid = None
        for legend in self._legends:
            if legend.GetScene() is not None:
                legend.SetVisibility(False)
        self._legends.clear()

    def _kept(self, node: Node) -> Any:
        """Return a node's display node, whose look is remembered; None where there is none."""
        if node is None or node.GetScene() is None or not node.IsA("vtkMRMLSegmentationNode"):
            return None
        display = node.GetDisplayNode()
        if display is not None:
            self._former.setdefault(
                display,
                (
                    display.GetVisibility(),
                    display.GetVisibility2DFill(),
                    display.GetVisibility2DOutline(),
                ),
            )
        return display
