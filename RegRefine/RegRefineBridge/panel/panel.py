"""Puts states into the panel's widgets. Widgets and the toolkit are arguments.

Spelt for PythonQt; the preview (make panel) and the tests drive it without Slicer, on real widgets
that have the same names (Testing/support/pythonqt.py).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..i18n import _
from ..process.gpus import Gpu
from ..workflow.estimate import Estimate
from ..workflow.history import Run
from ..workflow.interfaces import State
from ..workflow.method_view import MethodView, PresetRow
from ..workflow.panel_words import inPanel
from ..workflow.progress import timeWords
from ..workflow.weights import NetworkRow
from .curve import drawCurve

NOTHING = "\N{EN DASH}"
VIEWS = ("before", "after", "checkerboard", "flicker", "difference", "jacobian", "grid")
BAR_COLOURS = {"warning": "#ffd978", "error": "#f4b0a8"}
TOOLTIP_ROLE, FLAGS_ROLE = 3, 255  # Qt.ToolTipRole; where Qt's own item model keeps the flags
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
        self._final: tuple[int, Mapping[str, float]] = (0, {})  # run in the scene, its metrics
        self._judged, self._kept = 0, False  # the run whose result was kept though it is worse

    def showFinal(self, run: Run, state: State) -> None:
        """Show a result's own metrics in place of the last ones measured on the way."""
        self._final = run.number, run.after
        self.showState(state)

    def keep(self) -> None:
        """Ask no more about the result in the scene: the user keeps it."""
        self._kept = True
        self._ui.judgementWidget.setVisible(False)

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
        live = dict(state.live)
        if not state.busy and state.current == self._final[0]:
            live |= self._final[1]
        for name, (figure, form) in READ_OUTS.items():
            value = live.get(figure)
            getattr(ui, name).setText(NOTHING if value is None else form.format(value))
        ui.messageLabel.setText(messageHtml(state))
        ui.messageLabel.setToolTip(state.details or _("How the last run ended."))
        if state.current != self._judged:
            self._judged, self._kept = state.current, False
        ui.judgementWidget.setVisible(bool(state.worse) and not state.busy and not self._kept)
        drawCurve(ui.curveLabel, self._qt, state.losses, state.dices)

    def showReady(self, missing: Sequence[str], estimate: Estimate | None) -> None:
        """Show whether Apply may be pressed and what it will take; for when nothing runs."""
        ui = self._ui
        ui.applyButton.setEnabled(not missing)
        if missing:
            words = inPanel("\n".join(missing))
            ui.estimateLabel.setText(words)
            ui.applyButton.setToolTip(words)
            return
        ui.estimateLabel.setText("" if estimate is None else estimate.words())
        ui.applyButton.setToolTip(
            _("Register the moving volume to the fixed one. Slicer stays usable meanwhile.")
        )

    def showPresets(self, rows: Sequence[PresetRow], chosen: str) -> None:
        """Show the list of presets with the chosen one; headings cannot be chosen."""
        combo = self._ui.presetComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        for index, row in enumerate(rows):
            combo.addItem(row.text if row.name else f"\N{EM DASH} {row.text} \N{EM DASH}")
            combo.setItemData(index, row.tip, TOOLTIP_ROLE)
            if not row.name:
                combo.setItemData(index, 0, FLAGS_ROLE)
        names = [row.name for row in rows]
        combo.setCurrentIndex(names.index(chosen) if chosen in names else -1)
        combo.blockSignals(blocked)

    def showMethod(self, method: MethodView) -> None:
        """Show the presets, what the chosen one does, and what it takes in every box."""
        ui = self._ui
        self.showPresets(method.presets, method.chosen)
        ui.presetHelpLabel.setText(method.words)
        ui.resetPresetButton.setEnabled(method.changed)
        byPreset = _("{value} (preset)")
        for name in ("affine", "backbone", "refinement", "similarity", "intensity"):
            words = byPreset.format(value=method.taken.get(name, NOTHING))
            getattr(ui, f"{name}ComboBox").setItemText(0, words)
        for box, name in ((ui.stepsSpinBox, "steps"), (ui.workingSpacingSpinBox, "spacing")):
            box.specialValueText = byPreset.format(value=method.taken.get(name, NOTHING))
        for name, widgets in (
            ("network", (ui.modelLabel, ui.modelComboBox, ui.weightsFileLabel)),
            ("network", (ui.weightsFileLineEdit, ui.weightsFileButton)),
            ("similarity", (ui.similarityLabel, ui.similarityComboBox)),
            ("steps", (ui.stepsLabel, ui.stepsSpinBox)),
            ("symmetric", (ui.symmetricCheckBox,)),
            ("landmarks", (ui.landmarksWeightLabel, ui.landmarksWeightSlider)),
            ("labels", (ui.labelsWeightLabel, ui.labelsWeightSlider)),
        ):
            for widget in widgets:
                widget.setVisible(name in method.applies)

        ui.startSettingsGroupBox.setVisible(bool(method.start))
        ui.refinementSettingsGroupBox.setVisible(bool(method.refinement))

    def showGpus(self, found: Sequence[Gpu]) -> None:
        """Show which GPUs there are, and how much of their memory was free."""
        tip = [_("Which of several CUDA GPUs. Used when the device is GPU (CUDA).")]
        line = _("{number}: {name}, {free:.1f} of {total:.1f} GB free")
        tip += [
            line.format(
                number=gpu.number, name=gpu.name, free=gpu.freeMb / 1024, total=gpu.totalMb / 1024
            )
            for gpu in found
        ]
        if not found:
            tip.append(_("No NVIDIA driver was found on this computer."))
        self._ui.gpuSpinBox.setToolTip("\n".join(tip))
        self._ui.gpuSpinBox.setEnabled(len(found) > 1)

    def showGuides(self, landmarks: bool, labels: bool) -> None:
        """Show whether there is what could guide the deformation."""
        self._ui.landmarksWeightSlider.setEnabled(landmarks)
        self._ui.labelsWeightSlider.setEnabled(labels)

    def showNetworks(self, rows: Sequence[NetworkRow], names: Sequence[str]) -> None:
        """Show what each network of the list is; `names` are the list's lines."""
        known = {row.name: row for row in rows}
        combo = self._ui.modelComboBox
        for index, name in enumerate(names):
            if name in known:
                combo.setItemText(index, known[name].text)
                combo.setItemData(index, known[name].tip, TOOLTIP_ROLE)
        self._ui.removeWeightsButton.setEnabled(any(row.fetched for row in rows))

    def showRuns(self, runs: Iterable[Run], current: int) -> None:
        """Show the history, the run that is in the scene marked."""
        listed = list(runs)
        columns = [name for name in _columns() if any(name in run.after for run in listed)]
        self._heads(
            self._ui.runsTable,
            [_("Run"), _("Preset"), *(_columns()[n] for n in columns), _("Seconds"), _("Volumes")],
        )
        rows = [
            [
                f"{run.number}{' *' if run.number == current else ''}",
                run.title,
                *(_change(run, name) for name in columns),
                f"{run.total:.0f}",
                run.pair,
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
        for name in VIEWS:
            button = getattr(self._ui, f"{name}Button")
            button.setEnabled(name in there)
            blocked = button.blockSignals(True)
            button.setChecked(name == mode)
            button.blockSignals(blocked)

    def showPlaces(self, places: Sequence[str]) -> None:
        """Show the places in doubt below the list's title."""
        combo = self._ui.placesComboBox
        combo.clear()
        combo.addItem(_("Places in doubt: {count}").format(count=len(places)))
        for words in places:
            combo.addItem(words)
        combo.setCurrentIndex(0)

    def showBlend(self, percent: int) -> None:
        """Show how much of the front volume is seen."""
        slider = self._ui.blendSlider
        blocked = slider.blockSignals(True)
        slider.value = percent
        slider.blockSignals(blocked)

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


def messageHtml(state: State) -> str:
    """Return the warnings and the message as coloured bars, dark on light in every palette."""
    level = "warning" if state.worse else state.level
    bars = [_bar(each, "warning") for each in state.warnings]
    if state.message:
        bars.append(_bar(state.message, level))
    return "".join(bars)


def _bar(sentence: str, level: str) -> str:
    text = html.escape(inPanel(sentence)).replace("\n", "<br>")
    colour = BAR_COLOURS.get(level)
    if colour is None:
        return f"<p>{text}</p>"
    return (
        f'<table width="100%" cellpadding="4"><tr><td bgcolor="{colour}">'
        f'<span style="color:#202020">{text}</span></td></tr></table>'
    )


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
