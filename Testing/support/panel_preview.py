"""A preview of the panel: RegRefine.ui in a PySide6 window, stand-ins for Slicer's widgets.

    python Testing/panel_preview.py                    a window
    python Testing/panel_preview.py --png FILE         off-screen, into a picture
    ... --state idle | running | done                  what the panel shows (default done)
    ... --open                                         with the optional and advanced parts open

A help for working on the panel and for the documentation; it says nothing about Slicer itself.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import unicodedata
from types import SimpleNamespace

from support.paths import ROOT

UI = ROOT / "RegRefine" / "Resources" / "UI" / "RegRefine.ui"
WIDTH = 470


class Toolkit:
    """PySide6 in one namespace, as PythonQt has it."""

    def __getattr__(self, name: str):
        from PySide6 import QtCore, QtGui, QtWidgets

        for module in (QtWidgets, QtGui, QtCore):
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)


def standIns(qt: Toolkit) -> dict[str, type]:
    """Return plain widgets for those that only Slicer has, by class name."""

    class Collapsible(qt.QGroupBox):
        """ctkCollapsibleButton and ctkCollapsibleGroupBox: shut, they show their title alone."""

        def setCollapsed(self, shut):
            self.setProperty("shut", shut)

        def isCollapsed(self):
            return bool(self.property("shut"))

        text = qt.Property(str, qt.QGroupBox.title, qt.QGroupBox.setTitle)
        collapsed = qt.Property(bool, isCollapsed, setCollapsed)

    class NodeSelector(qt.QComboBox):
        """qMRMLNodeComboBox: a list with one entry."""

        def setNoneDisplay(self, text):
            self.clear()
            self.addItem(text)

        noneDisplay = qt.Property(str, qt.QComboBox.currentText, setNoneDisplay)

        def setMRMLScene(self, scene):
            pass

    class Slider(qt.QWidget):
        """ctkSliderWidget: a slider and a number."""

        def __init__(self, parent=None):
            super().__init__(parent)
            row = qt.QHBoxLayout(self)
            row.setContentsMargins(0, 0, 0, 0)
            self.slider = qt.QSlider(qt.Qt.Orientation.Horizontal)
            self.slider.setValue(9)
            self.number = qt.QDoubleSpinBox()
            self.number.setPrefix("\N{MULTIPLICATION SIGN} ")
            self.number.setValue(1.0)
            row.addWidget(self.slider)
            row.addWidget(self.number)

    class Plain(qt.QWidget):
        """qMRMLWidget."""

    class Table(qt.QTableWidget):
        """qMRMLTableView: filled by hand here."""

        def setMRMLScene(self, scene):
            pass

    return {
        "qMRMLWidget": Plain,
        "qMRMLNodeComboBox": NodeSelector,
        "qMRMLTableView": Table,
        "ctkCollapsibleButton": Collapsible,
        "ctkCollapsibleGroupBox": Collapsible,
        "ctkSliderWidget": Slider,
    }


def load(qt: Toolkit):
    """Return the window of RegRefine.ui and its widgets by name."""
    from PySide6.QtUiTools import QUiLoader

    kinds = standIns(qt)

    class Loader(QUiLoader):
        def createWidget(self, className, parent=None, name=""):
            if className not in kinds:
                return super().createWidget(className, parent, name)
            widget = kinds[className](parent)
            widget.setObjectName(name)
            return widget

    loader = Loader()
    whole = UI.read_text(encoding="utf-8")  # without the connections to the scene
    bare = whole[: whole.index("<connections>")] + "</ui>"
    buffer = qt.QBuffer()
    buffer.setData(bare.encode())
    window = loader.load(buffer)
    if window is None:
        raise SystemExit(f"{UI} cannot be loaded: {loader.errorString()}")
    widgets = {w.objectName(): w for w in window.findChildren(qt.QWidget) if w.objectName()}
    return window, SimpleNamespace(**widgets)


def fillLists(ui: SimpleNamespace) -> None:
    """Fill the lists, as Slicer's parameter node does."""
    from RegRefineBridge.panel import choice_lists as choices

    for name in ("affine", "backbone", "model", "refinement", "similarity", "intensity", "device"):
        kind = getattr(choices, name.capitalize())
        for row in kind:
            getattr(ui, f"{name}ComboBox").addItem(row.label())
    for name in ("WarpedVolume", "WarpedSegmentation", "Jacobian"):
        getattr(ui, f"make{name}CheckBox").setChecked(True)
    for name, text in (("fixed", "MRBrainTumor1"), ("moving", "MRBrainTumor2")):
        selector = getattr(ui, f"{name}Selector")
        selector.clear()
        selector.addItem(text)


def example(phase: str):
    """Return a state as a run would show it (made-up metrics)."""
    from RegRefineBridge.workflow.interfaces import State

    losses = tuple(0.9 * math.exp(-step / 12) + 0.35 for step in range(40))
    dices = tuple(0.82 - 0.2 * math.exp(-step / 9) for step in range(40))
    live = {
        "loss": losses[-1],
        "dice": 0.818,
        "folds_percent": 0.02,
        "sdlogj": 0.087,
        "largest_mm": 11.4,
    }
    if phase == "idle":
        return State()
    if phase == "running":
        return State(
            phase="running",
            stage="Refining (40 of 60)",
            fraction=0.7,
            secondsLeft=14,
            live=live,
            losses=losses,
            dices=dices,
        )
    arrow = "\N{RIGHTWARDS ARROW}"
    message = f"Done in 58 s: Dice 0.621 {arrow} 0.818, folds 0.02 %, largest 11.4 mm."
    return State(live=live, losses=losses, dices=dices, message=message, current=2)


def exampleRuns():
    """Return two made-up runs."""
    from RegRefineBridge.workflow.history import Run
    from RegRefineBridge.workflow.interfaces import PairSize

    from RegRefineLib.job import Job

    runs = []
    for number, dice, seconds in ((1, 0.774, 31.0), (2, 0.818, 58.0)):
        after = {"dice": dice, "folds_percent": 0.02, "largest_mm": 11.4}
        size = PairSize(1, 1, (1.0, 1.0, 1.0))
        spent = {"refine": seconds}
        rest = ("cpu", False, (), None, None, {}, {})
        runs.append(Run(number, "default", Job(), {"dice": 0.621}, after, size, spent, *rest))
    return runs


def show(panel, ui: SimpleNamespace, phase: str, qt: Toolkit) -> None:
    """Bring the panel into a state."""
    from RegRefineBridge.workflow.estimate import Estimate
    from RegRefineBridge.workflow.job_choices import Catalogue, describe

    from RegRefineLib.job import Job

    catalogue = Catalogue()
    words = f"{catalogue.help('default')}\n{describe(Job())}"
    panel.showMethod(catalogue.names(), "default", words)
    panel.showReady([], Estimate(7_200_000, 62.0, 2900.0))
    runs = exampleRuns()
    done = phase == "done"
    panel.showRuns(runs if done else [], 2 if done else 0)
    modes = ("before", "after", "checkerboard", "flicker", "difference", "jacobian")
    panel.showViews(modes if done else (), "after" if done else "")
    table = ui.metricsTableView
    rows = [
        ("hippocampus", "dice", "0.598", "0.655", "0.801"),
        ("ventricle", "dice", "0.644", "0.690", "0.835"),
        ("all", "dice", "0.621", "0.673", "0.818"),
        ("all", "hd95_mm", "5.10", "4.20", "2.40"),
    ]
    table.setColumnCount(5)
    table.setHorizontalHeaderLabels(["structure", "figure", "before", "linear", "after"])
    table.setRowCount(len(rows) if done else 0)
    for index, row in enumerate(rows if done else ()):
        for column, text in enumerate(row):
            table.setItem(index, column, qt.QTableWidgetItem(text))
    table.resizeColumnsToContents()
    ui.chartButton.setEnabled(done)
    panel.showState(example(phase))


def shutBoxes(ui: SimpleNamespace, everythingOpen: bool, qt: Toolkit) -> None:
    """Hide what lies in boxes that are shut, and mark all boxes."""
    for name, box in vars(ui).items():
        if not name.endswith(("CollapsibleButton", "GroupBox")):
            continue
        shut = box.isCollapsed() and not everythingOpen
        mark = (
            "BLACK RIGHT-POINTING SMALL TRIANGLE" if shut else "BLACK DOWN-POINTING SMALL TRIANGLE"
        )
        box.setTitle(f"{unicodedata.lookup(mark)} {box.title()}")
        if shut:
            box.setFlat(True)
            box.setFixedHeight(22)
            for child in box.findChildren(qt.QWidget):
                child.setVisible(False)


def main() -> int:
    """Show the preview."""
    parser = argparse.ArgumentParser(description="a preview of the panel")
    parser.add_argument("--png", help="write a picture instead of opening a window")
    parser.add_argument("--state", default="done", choices=("idle", "running", "done"))
    parser.add_argument("--open", action="store_true", help="with all parts open")
    arguments = parser.parse_args()
    if arguments.png:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qt = Toolkit()
    application = qt.QApplication(sys.argv[:1])
    window, ui = load(qt)
    from RegRefineBridge.panel.panel import Panel

    fillLists(ui)
    window.setWindowTitle("RegRefine (a preview, not Slicer)")
    window.resize(WIDTH, window.sizeHint().height())
    window.show()
    application.processEvents()
    show(Panel(ui, qt), ui, arguments.state, qt)
    if arguments.state == "done":
        ui.resultsCollapsibleButton.setCollapsed(False)
    shutBoxes(ui, arguments.open, qt)
    application.processEvents()
    window.resize(WIDTH, window.sizeHint().height())
    application.processEvents()
    if not arguments.png:
        return application.exec()
    saved = window.grab().save(arguments.png)
    return 0 if saved else 1


if __name__ == "__main__":
    sys.exit(main())
