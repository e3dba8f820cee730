"""The colours of a Jacobian map: one convention, here and in RegRefineLib's pictures.

Blue where the tissue is squeezed (determinant below 1), white where it keeps its volume, red where
it is stretched, magenta where the map folds (0 and below).
"""

from __future__ import annotations

from typing import Any

import vtk

FOLDED = (0.8, 0.0, 0.8)
SQUEEZED = (0.0, 0.3, 0.7)
UNCHANGED = (1.0, 1.0, 1.0)
STRETCHED = (0.7, 0.0, 0.1)
# determinant -> colour
JACOBIAN_COLOURS = ((-0.001, FOLDED), (0.0, SQUEEZED), (1.0, UNCHANGED), (2.0, STRETCHED))
WINDOW, LEVEL = 2.0, 1.0
LEGEND_TITLE = "volume change (blue squeezed, red stretched, magenta folded)"


def setJacobianColours(node: Any) -> tuple[float, float]:
    """Give a vtkMRMLProceduralColorNode the colours; return the window and the level to use."""
    function = vtk.vtkDiscretizableColorTransferFunction()
    for determinant, colour in JACOBIAN_COLOURS:
        function.AddRGBPoint(determinant, *colour)
    node.SetAndObserveColorTransferFunction(function)
    return WINDOW, LEVEL
