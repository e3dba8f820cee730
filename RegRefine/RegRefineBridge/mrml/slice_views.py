"""What the slice views show of a result: before and after, checkerboard, difference and so on.

Sets the layers of all slice views through their composite nodes. Checkerboard and difference are
volumes of their own on the fixed grid, made when they are asked for, kept out of lists and of saved
scenes, and removed by `leave`, which also gives the views back what they showed. Segmentations are
outlines meanwhile, and only those that belong to what is shown (view_looks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from RegRefineLib.geometry import Geometry, Volume

from .transforms import Node, fromVtkMatrix, matrixToWorld, toVtkMatrix
from .view_looks import Looks
from .volumes import volumeFromNode

MODES = ("before", "after", "checkerboard", "flicker", "difference", "jacobian")
GRID_MODE = "grid"  # a further mode: lines that the transform bends, over the warped volume
SQUARE_MM = 20.0
FLICKER_MS = 600


class Timer(Protocol):
    """Something that calls a function every so often (a QTimer)."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


class Views:
    """The slice views of a scene.

    Args:
        newTimer: takes a function and milliseconds and returns a Timer; None: flicker stands still.
        fit: fits the slice views to what they show (slicer.util.resetSliceViews); called when a
            pair is shown for the first time.
    """

    def __init__(
        self,
        scene: Any,
        newTimer: Callable[[Callable[[], None], int], Timer] | None = None,
        fit: Callable[[], object] | None = None,
    ) -> None:
        self.mode = ""
        self._fit = fit
        self._fitted: Node = None
        self._looks = Looks()
        self._scene = scene
        self._helpers: dict[str, Node] = {}
        self._former: dict[str, tuple[Any, ...]] = {}
        self._timer = newTimer(self.flick, FLICKER_MS) if newTimer is not None else None

    def available(self, fixed: Node, moving: Node, nodes: Mapping[str, Node]) -> set[str]:
        """Return the modes that can be shown of these nodes (by output)."""
        modes = set()
        if _isHere(fixed) and _isHere(moving):
            modes.add("before")
        if _isHere(fixed) and _isHere(nodes.get("warpedVolume")):
            modes |= {"after", "checkerboard", "flicker", "difference"}
        if _isHere(fixed) and _isHere(nodes.get("jacobian")):
            modes.add("jacobian")
        if _isHere(fixed) and _isHere(nodes.get("transform")):
            modes.add(GRID_MODE)
        return modes

    def leaveIfGone(self, fixed: Node, moving: Node, nodes: Mapping[str, Node]) -> bool:
        """Leave a mode whose nodes were removed; return whether that was so."""
        gone = bool(self.mode) and self.mode not in self.available(fixed, moving, nodes)
        if gone:
            self.leave()
        return gone

    def show(
        self,
        mode: str,
        fixed: Node,
        moving: Node,
        nodes: Mapping[str, Node],
        segmentations: tuple[Node, Node] = (None, None),
    ) -> None:
        """Show a mode in all slice views.

        Args:
            segmentations: of the fixed and of the moving volume, as they were given.

        Raises:
            ValueError: the mode cannot be shown of these nodes.
        """
        if mode not in self.available(fixed, moving, nodes):
            raise ValueError(f"{mode}: the nodes for it are not there")
        self._stopFlicker()
        self._looks.restore()
        self._remember()
        self.mode = mode
        self._outline(mode, segmentations, nodes.get("warpedSegmentation"))
        self._setMode(mode, fixed, moving, nodes)
        if self._fit is not None and self._fitted is not fixed:
            self._fitted = fixed
            self._fit()

    def _outline(self, mode: str, segmentations: tuple[Node, Node], warped: Node) -> None:
        """Show the outlines that belong to what is shown; hide those of the other position."""
        ofFixed, ofMoving = segmentations
        here, gone = (ofMoving, warped) if mode == "before" else (warped, ofMoving)
        self._looks.outline((ofFixed, here), (gone,))

    def _setMode(self, mode: str, fixed: Node, moving: Node, nodes: Mapping[str, Node]) -> None:
        if mode in ("checkerboard", "difference"):
            helper = self._helper(mode, fixed, nodes["warpedVolume"])
            self._setLayers(helper, None, 0.0)
            return
        front = {"before": moving, "jacobian": nodes.get("jacobian")}.get(
            mode, nodes.get("warpedVolume")
        )
        self._setLayers(fixed, front if _isHere(front) else None, 0.5)
        if mode == "jacobian":
            self._looks.showLegend(nodes["jacobian"])
        if mode == GRID_MODE:
            self._looks.showGrid(nodes["transform"], fixed)
        if mode == "flicker" and self._timer is not None:
            self._timer.start()

    def blend(self, opacity: float) -> None:
        """Show the front volume with this opacity, 0 to 1."""
        for composite in self._composites():
            composite.SetForegroundOpacity(opacity)

    def flick(self) -> None:
        """Show the other of the two volumes of a flicker."""
        for composite in self._composites():
            composite.SetForegroundOpacity(0.0 if composite.GetForegroundOpacity() > 0.5 else 1.0)

    def leave(self) -> None:
        """Give the views back what they showed, and remove the volumes made for them."""
        self._stopFlicker()
        for composite in self._composites():
            former = self._former.get(composite.GetID())
            if former is not None:
                back, front, opacity = former
                composite.SetBackgroundVolumeID(back)
                composite.SetForegroundVolumeID(front)
                composite.SetForegroundOpacity(opacity)
        self._former.clear()
        self._looks.restore()
        for helper in self._helpers.values():
            if _isHere(helper):
                self._scene.RemoveNode(helper)
        self._helpers.clear()
        self.mode = ""

    def _stopFlicker(self) -> None:
        if self._timer is not None:
            self._timer.stop()

    def _remember(self) -> None:
        for composite in self._composites():
            self._former.setdefault(
                composite.GetID(),
                (
                    composite.GetBackgroundVolumeID(),
                    composite.GetForegroundVolumeID(),
                    composite.GetForegroundOpacity(),
                ),
            )

    def _composites(self) -> list[Any]:
        kind = "vtkMRMLSliceCompositeNode"
        count = self._scene.GetNumberOfNodesByClass(kind)
        return [self._scene.GetNthNodeByClass(index, kind) for index in range(count)]

    def _setLayers(self, back: Node, front: Node, opacity: float) -> None:
        for composite in self._composites():
            composite.SetBackgroundVolumeID(back.GetID())
            composite.SetForegroundVolumeID(None if front is None else front.GetID())
            composite.SetForegroundOpacity(opacity)
            composite.SetCompositing(composite.Alpha)

    def _helper(self, mode: str, fixed: Node, warped: Node) -> Node:
        """Return the volume of a mode, filled anew: the result may be another one by now."""
        still, moved = _asItIs(fixed), _asItIs(warped)
        make = checkerboard if mode == "checkerboard" else difference
        volume = make(still, moved)
        node: Node = self._helpers.get(mode)
        if not _isHere(node):
            node = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"RegRefine {mode}")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            self._helpers[mode] = node
        slicer.util.updateVolumeFromArray(node, volume.array)
        node.SetIJKToRASMatrix(toVtkMatrix(volume.geometry.affine))
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        if display is not None:
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(*((255.0, 127.5) if mode == "checkerboard" else (510.0, 0.0)))
        return node


def checkerboard(fixed: Volume, warped: Volume, square_mm: float = SQUARE_MM) -> Volume:
    """Return cubes of the one and the other volume in turn, each stretched to 0..255 (uint8).

    Raises:
        ValueError: the volumes are on different grids.
    """
    left, right = _stretched(fixed, warped)
    sizes = [max(1, round(square_mm / s)) for s in fixed.geometry.spacing[::-1]]
    k, j, i = (
        np.arange(n) // size % 2 == 1 for n, size in zip(fixed.geometry.shape, sizes, strict=True)
    )
    odd = k[:, None, None] ^ j[:, None] ^ i
    return Volume(np.where(odd, right, left), fixed.geometry)


def difference(fixed: Volume, warped: Volume) -> Volume:
    """Return the fixed minus the warped volume, each stretched to 0..255 (int16).

    Raises:
        ValueError: the volumes are on different grids.
    """
    left, right = _stretched(fixed, warped)
    return Volume(np.subtract(left, right, dtype=np.int16), fixed.geometry)


def _stretched(fixed: Volume, warped: Volume) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not fixed.geometry.same_grid(warped.geometry):
        raise ValueError("the warped volume is on another grid than the fixed one")
    left, right = (_toBytes(volume.array) for volume in (fixed, warped))
    return left, right


def _toBytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    sample = array.ravel()[:: max(1, array.size // 1_000_000)]
    low, high = np.nanpercentile(sample, (0.5, 99.5))
    scale = 255.0 / max(float(high - low), 1e-12)
    scaled = np.multiply(array, np.float32(scale), dtype=np.float32)  # quick: few passes, no copy
    scaled -= np.float32(low * scale)
    np.clip(scaled, 0, 255, out=scaled)
    if np.isnan(scaled.max()):
        np.nan_to_num(scaled, copy=False)
    return scaled.astype(np.uint8)


def _asItIs(node: Node) -> Volume:
    """Return a volume node in the world without a copy of its voxels, where that can be had."""
    matrix = matrixToWorld(node)
    if matrix is None:
        return volumeFromNode(node)
    toRas = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(toRas)
    array = slicer.util.arrayFromVolume(node)
    return Volume(array, Geometry(array.shape, matrix @ fromVtkMatrix(toRas)))


def _isHere(node: Node) -> bool:
    return node is not None and node.GetScene() is not None
