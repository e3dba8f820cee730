"""A preview of the panel: RegRefine.ui in a window, without Slicer.

    python Testing/support/panel_preview.py            a window
    python Testing/support/panel_preview.py --png FILE off-screen, into a picture
    ... --state idle | running | done | worse          what the panel shows (default done)
    ... --open                                         with the optional and advanced parts open
    ... --width 350 --dark --large                     a narrow dock, a dark palette, a large font

The widgets are PySide6's, those of CTK and Slicer are stand-ins (slicer_widgets.py). A help for
working on the panel and for the documentation; it says nothing about Slicer itself.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import fields
from types import SimpleNamespace

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QAbstractButton, QWidget

import support.slicer_widgets as slicer_widgets
from support.paths import ROOT
from support.pythonqt import Shown, application, qt

UI = ROOT / "RegRefine" / "Resources" / "UI" / "RegRefine.ui"
WIDTH = 470
STATES = ("idle", "running", "done", "worse")


def load() -> tuple[Shown, SimpleNamespace]:
    """Return the window of RegRefine.ui and its widgets by name."""
    window = slicer_widgets.load(str(UI))
    return window, slicer_widgets.children(window)


def darken() -> None:
    """Give the application a dark palette."""
    palette = QPalette()
    for role, colour in (
        (QPalette.ColorRole.Window, "#323232"),
        (QPalette.ColorRole.Base, "#242424"),
        (QPalette.ColorRole.AlternateBase, "#2c2c2c"),
        (QPalette.ColorRole.Button, "#3c3c3c"),
        (QPalette.ColorRole.Text, "#f0f0f0"),
        (QPalette.ColorRole.WindowText, "#f0f0f0"),
        (QPalette.ColorRole.ButtonText, "#f0f0f0"),
        (QPalette.ColorRole.ToolTipText, "#f0f0f0"),
        (QPalette.ColorRole.Link, "#7fb2f0"),
    ):
        palette.setColor(role, QColor(colour))
    application().setPalette(palette)


def fillLists(ui: SimpleNamespace) -> None:
    """Fill the lists, as Slicer's parameter node does."""
    from RegRefineBridge.panel import choice_lists as choices

    for name in ("affine", "backbone", "model", "refinement", "similarity", "intensity", "device"):
        kind = getattr(choices, name.capitalize())
        for row in kind:
            getattr(ui, f"{name}ComboBox").addItem(row.label())
    for name, text in (("fixed", "MRBrainTumor1"), ("moving", "MRBrainTumor2")):
        getattr(ui, f"{name}Selector")._object.box.addItem(text)


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
    if phase == "worse":
        message = "Done in 20 s. Worse than the start: Dice fell from 0.944 to 0.851."
        warning = "The two volumes overlap in 40 % of the fixed one."
        return State(live=live, message=message, worse=("dice",), current=2, warnings=(warning,))
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
        values = {each.name: None for each in fields(Run)} | {
            "number": number,
            "title": "default",
            "fixedName": "MRBrainTumor1",
            "movingName": "MRBrainTumor2",
            "job": Job(),
            "before": {"dice": 0.621},
            "after": {"dice": dice, "folds_percent": 0.02, "largest_mm": 11.4},
            "size": PairSize(1, 1, (1.0, 1.0, 1.0)),
            "seconds": {"refine": seconds},
            "warnings": (),
            "nodes": {},
            "record": {},
        }
        runs.append(Run(**values))
    return runs


def show(panel, ui: SimpleNamespace, phase: str) -> None:
    """Bring the panel into a state."""
    from RegRefineBridge.panel.choice_lists import Model, readable
    from RegRefineBridge.panel.settings_form import SettingsForm
    from RegRefineBridge.workflow.estimate import Estimate
    from RegRefineBridge.workflow.job_choices import Catalogue
    from RegRefineBridge.workflow.method_view import methodView
    from RegRefineBridge.workflow.weights import networkRows

    from RegRefineLib.job import Job

    method = methodView(Catalogue(), "default", Job(), readable)
    panel.showMethod(method)
    panel.showNetworks(networkRows(), [each.value for each in Model])
    panel.showGuides(False, False)
    form = SettingsForm(ui.refinementSettingsGroupBox.layout(), qt, lambda name, value: None)
    form.show("pyramid", method.refinement)
    panel.showReady([], Estimate(7_200_000, 62.0, 2900.0))
    runs = exampleRuns()
    done = phase in ("done", "worse")
    panel.showRuns(runs if done else [], 2 if done else 0)
    modes = ("before", "after", "checkerboard", "flicker", "difference", "jacobian")
    panel.showViews(modes if done else (), "after" if done else "")
    table = ui.metricsTableView._object
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
            table.setItem(index, column, qt.QTableWidgetItem(text)._object)
    table.resizeColumnsToContents()
    ui.chartButton.setEnabled(done)
    panel.showState(example(phase))


def main() -> int:
    """Show the preview."""
    parser = argparse.ArgumentParser(description="a preview of the panel")
    parser.add_argument("--png", help="write a picture instead of opening a window")
    parser.add_argument("--state", default="done", choices=STATES)
    parser.add_argument("--open", action="store_true", help="with all parts open")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the window, in pixels")
    parser.add_argument("--dark", action="store_true", help="with a dark palette")
    parser.add_argument("--large", action="store_true", help="with a font half as large again")
    arguments = parser.parse_args()
    if not arguments.png:
        os.environ["QT_QPA_PLATFORM"] = ""
    window = draw(arguments)
    if not arguments.png:
        return application().exec()
    return 0 if window._object.grab().save(arguments.png) else 1


def draw(arguments: argparse.Namespace) -> Shown:
    """Return a window that shows what the arguments say."""
    from RegRefineBridge.panel.panel import Panel

    if arguments.dark:
        application().setStyle("Fusion")
        darken()
    if arguments.large:
        font = application().font()
        font.setPointSizeF(1.5 * font.pointSizeF())
        application().setFont(font)
    window, ui = load()
    fillLists(ui)
    window.setWindowTitle("RegRefine (a preview, not Slicer)")
    window._object.resize(arguments.width, 400)
    window.show()
    application().processEvents()
    show(Panel(ui, qt), ui, arguments.state)
    for name, box in vars(ui).items():
        if name.endswith(("CollapsibleButton", "GroupBox")) and arguments.open:
            box.collapsed = False
    if arguments.state in ("done", "worse"):
        ui.resultsCollapsibleButton.collapsed = False
    application().processEvents()
    height = window._object.layout().totalHeightForWidth(arguments.width)
    window._object.resize(arguments.width, max(height, window._object.sizeHint().height()))
    application().processEvents()
    return window


def outside(window: Shown) -> list[str]:
    """Return the names of visible widgets that reach beyond the window or are not seen whole."""
    whole, found = window._object, []
    for widget in whole.findChildren(QWidget):
        if not widget.objectName() or not widget.isVisible():
            continue
        left, right = (
            widget.mapTo(whole, corner).x()
            for corner in (widget.rect().topLeft(), widget.rect().topRight())
        )
        is_button = isinstance(widget, QAbstractButton) and not widget.objectName().startswith("qt")
        clipped = is_button and widget.width() < widget.minimumSizeHint().width()
        if left < 0 or right >= whole.width() or clipped:
            found.append(widget.objectName())
    return found


if __name__ == "__main__":
    sys.exit(main())
