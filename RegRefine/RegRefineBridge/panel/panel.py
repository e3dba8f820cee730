"""Puts states into the panel's widgets. Widgets and the toolkit are arguments.

Uses only setters and what PythonQt and PySide6 spell alike, so that the preview (make panel) and
the tests can drive it without Slicer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ..i18n import _
from ..workflow.estimate import Estimate
from ..workflow.history import Run
from ..workflow.interfaces import State
from ..workflow.progress import timeWords

LOSS_COLOUR, DICE_COLOUR = "#1f77b4", "#e6842a"
NOTHING = "\N{EN DASH}"
# widget -> figure, format
READ_OUTS = {
    "lossValue": ("loss", "{:.4f}"),
    "diceValue": ("dice", "{:.3f}"),
    "foldsValue": ("folds_percent", "{:.2f} %"),
    "sdlogjValue": ("sdlogj", "{:.3f}"),
    "largestValue": ("largest_mm", "{:.1f} mm"),
}


class Panel:
    """The widgets of RegRefine.ui.

    Args:
        ui: has the widgets as attributes, by their names.
        qt: the toolkit, all classes in one namespace.
    """

    def __init__(self, ui: Any, qt: Any) -> None:
        self._ui = ui
        self._qt = qt
        self._runs = 0

    def showState(self, state: State) -> None:
        """Show how the run goes, or how the last one ended."""
        ui = self._ui
        stopping = state.phase == "stopping"
        ui.applyButton.setText(_("Stop") if state.busy else _("Apply"))
        if state.busy:
            ui.applyButton.setEnabled(not stopping)
            ui.applyButton.setToolTip(_("End the run at its next step and keep the best so far."))
        ui.abortButton.setEnabled(state.busy)
        ui.stageLabel.setText(state.stage)
        left = state.secondsLeft if state.busy else None
        ui.timeLabel.setText("" if left is None else _("{time} left").format(time=timeWords(left)))
        ui.progressBar.setValue(int(100 * state.fraction) if state.busy else 0)
        for name, (figure, form) in READ_OUTS.items():
            value = state.live.get(figure)
            getattr(ui, name).setText(NOTHING if value is None else form.format(value))
        sentences = [*state.warnings, state.message] if state.message else list(state.warnings)
        ui.messageLabel.setText("\n".join(sentences))
        ui.messageLabel.setToolTip(state.details or _("How the last run ended."))
        self._drawCurve(state.losses, state.dices)

    def showReady(self, missing: Sequence[str], estimate: Estimate | None) -> None:
        """Show whether Apply may be pressed and what it will take; for when nothing runs."""
        ui = self._ui
        ui.applyButton.setEnabled(not missing)
        if missing:
            ui.estimateLabel.setText("\n".join(missing))
            ui.applyButton.setToolTip("\n".join(missing))
            return
        ui.estimateLabel.setText("" if estimate is None else estimate.words())
        ui.applyButton.setToolTip(
            _("Register the moving volume to the fixed one. Slicer stays usable meanwhile.")
        )

    def showMethod(self, names: Sequence[str], chosen: str, words: str) -> None:
        """Show the presets with the chosen one, and what it does."""
        combo = self._ui.presetComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        for name in names:
            combo.addItem(name)
        combo.setCurrentIndex(list(names).index(chosen) if chosen in names else -1)
        combo.blockSignals(blocked)
        self._ui.presetHelpLabel.setText(words)

    def showRuns(self, runs: Iterable[Run], current: int) -> None:
        """Show the history, the run that is in the scene marked."""
        listed = list(runs)
        columns = [name for name in _columns() if any(name in run.after for run in listed)]
        self._heads(
            self._ui.runsTable,
            [_("Run"), _("Preset"), *(_columns()[name] for name in columns), _("Seconds")],
        )
        rows = [
            [
                f"{run.number}{' *' if run.number == current else ''}",
                run.title,
                *(_change(run, name) for name in columns),
                f"{run.total:.0f}",
            ]
            for run in listed
        ]
        self._runs = len(rows)
        self._fill(self._ui.runsTable, rows)
        self._ui.revertButton.setEnabled(current > 0)
        self._ui.reportButton.setEnabled(bool(listed))

    def showComparison(self, rows: Sequence[Sequence[str]], first: int, second: int) -> None:
        """Show what differs between two runs."""
        table = self._ui.compareTable
        run = _("run {number}")
        self._heads(table, ["", run.format(number=first), run.format(number=second)])
        self._fill(table, [list(row) for row in rows])
        table.setVisible(True)

    def showViews(self, available: Iterable[str], mode: str) -> None:
        """Show which views there are, and which is on."""
        there = set(available)
        for name in ("before", "after", "checkerboard", "flicker", "difference", "jacobian"):
            button = getattr(self._ui, f"{name}Button")
            button.setEnabled(name in there)
            blocked = button.blockSignals(True)
            button.setChecked(name == mode)
            button.blockSignals(blocked)

    def chosenRuns(self) -> list[int]:
        """Return the rows that are selected in the list of runs."""
        table = self._ui.runsTable
        model, root = table.selectionModel(), table.rootIndex()
        return [row for row in range(self._runs) if model.isRowSelected(row, root)]

    def _heads(self, table: Any, names: Sequence[str]) -> None:
        table.setColumnCount(len(names))
        table.setHorizontalHeaderLabels(list(names))
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setStretchLastSection(True)

    def _fill(self, table: Any, rows: Sequence[Sequence[str]]) -> None:
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(index, column, self._qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()

    def _drawCurve(self, losses: Sequence[float], dices: Sequence[float]) -> None:
        label, qt = self._ui.curveLabel, self._qt
        if len(losses) < 2:
            label.clear()
            return
        width, height = max(40, _plain(label.width)), max(30, _plain(label.height))
        pixmap = qt.QPixmap(width, height)
        pixmap.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(pixmap)
        for values, colour in ((losses, LOSS_COLOUR), (dices, DICE_COLOUR)):
            pen = qt.QPen()
            pen.setColor(qt.QColor(colour))
            pen.setWidth(2)
            painter.setPen(pen)
            points = polyline(values, width, height)
            for (x0, y0), (x1, y1) in pairwise(points):
                painter.drawLine(int(x0), int(y0), int(x1), int(y1))
        painter.end()
        label.setPixmap(pixmap)


def _plain(value: Any) -> int:
    """Return a property's value, which PySide6 has as a method and PythonQt as an attribute."""
    return int(value() if callable(value) else value)


def _columns() -> dict[str, str]:
    """Return the metrics of the list of runs with their heads."""
    return {
        "dice": _("Dice"),
        "tre_mm": _("Landmarks mm"),
        "ncc": _("Correlation"),
        "folds_percent": _("Folds %"),
        "largest_mm": _("Largest mm"),
    }


def _change(run: Run, name: str) -> str:
    """Return a figure before and after, or after alone where the start says nothing."""
    after = run.after.get(name)
    if after is None:
        return ""
    before = run.before.get(name)
    if before is None or name in ("folds_percent", "largest_mm"):
        return f"{after:.3g}"
    return f"{before:.3f} \N{RIGHTWARDS ARROW} {after:.3f}"


Points = list[tuple[float, float]]


def polyline(values: Sequence[float], width: float, height: float, margin: float = 3.0) -> Points:
    """Return the points (x to the right, y down) of a line through values, filling a rectangle.

    The least value lies at the bottom. Values that are not finite are left out; a constant line
    runs through the middle.
    """
    finite = [(index, v) for index, v in enumerate(values) if math.isfinite(v)]
    if len(finite) < 2:
        return []
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    across = (width - 2 * margin) / (len(values) - 1)
    up = (height - 2 * margin) / (high - low) if high > low else 0.0
    middle = height / 2
    return [
        (margin + index * across, height - margin - (v - low) * up if up else middle)
        for index, v in finite
    ]
