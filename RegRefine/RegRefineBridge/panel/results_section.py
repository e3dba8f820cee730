"""The Results section of the panel: its buttons to the presenter, the views and the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from ..i18n import _
from ..mrml.picture import picture
from ..mrml.places import Place, jumpTo, placesInDoubt
from ..mrml.slice_views import GRID_MODE, MODES, Views
from ..workflow.history import Run, compare
from ..workflow.presenter import Presenter
from ..workflow.report import saveReport
from .panel import Panel

BLENDED = ("before", "after", "jacobian")  # views with two layers, one over the other


def fitViews() -> None:
    """Fit the slice views to what they show, where there are any."""
    manager = slicer.app.layoutManager()
    if manager is not None:  # there is none without a main window
        manager.resetSliceViews()


class ResultsSection:
    """Wiring of the Results section.

    Args:
        ui: the panel's widgets by name; panel shows things in them.
        qt: the toolkit.
    """

    def __init__(self, ui: Any, panel: Panel, qt: Any, presenter: Presenter, views: Views) -> None:
        self._ui, self._panel, self._qt = ui, panel, qt
        self._presenter, self._views = presenter, views
        for button, slot in (
            (ui.revertButton, self.onRevertButton),
            (ui.revertWorseButton, self.onRevertButton),
            (ui.keepButton, self.onKeepButton),
            (ui.restoreButton, self.onRestoreButton),
            (ui.compareButton, self.onCompareButton),
            (ui.chartButton, self.onChartButton),
            (ui.reportButton, self.onReportButton),
        ):
            button.connect("clicked(bool)", slot)
        for mode in (*MODES, GRID_MODE):
            button = getattr(ui, f"{mode}Button")
            button.connect("toggled(bool)", lambda on, mode=mode: self.onView(mode, on))
        ui.runsTable.connect("itemSelectionChanged()", self.onRunsSelected)
        ui.placesComboBox.connect("activated(int)", self.onPlaceChosen)
        self._places: list[Place] = []
        ui.compareTable.setVisible(False)
        ui.judgementWidget.setVisible(False)
        ui.blendSlider.connect("valueChanged(int)", self.onBlend)

    def show(self) -> None:
        """Show the list of runs and which views there are of the one in the scene."""
        run = self._presenter.shown()
        available: set[str] = set()
        if run is not None:
            inputs = run.request.inputs
            available = self._views.available(inputs.fixed, inputs.moving, run.nodes)
        if self._views.mode and self._views.mode not in available:
            self._views.leave()  # what it shows was removed
        self._ui.blendSlider.setEnabled(self._views.mode in BLENDED)
        self._panel.showRuns(self._presenter.runs, self._presenter.state.current)
        self._panel.showViews(available, self._views.mode)
        self._ui.chartButton.setEnabled(run is not None and "chart" in run.nodes)
        self._ui.placesComboBox.setEnabled(run is not None and bool(self._places))
        self.onRunsSelected()

    def showRun(self, run: Run) -> None:
        """Show a result that has come into the scene."""
        self._ui.resultsCollapsibleButton.collapsed = False
        self._ui.metricsTableView.setMRMLTableNode(run.nodes.get("metrics"))
        self._ui.metricsTableView.verticalHeader().setVisible(False)
        self._ui.metricsTableView.resizeColumnsToContents()
        self._panel.showFinal(run, self._presenter.state)
        self._places = placesInDoubt(run.request.inputs.fixed, run.nodes)
        self._panel.showPlaces([place.words for place in self._places])
        if "warpedVolume" in run.nodes:
            self.onView("after", True)

    def leave(self) -> None:
        """Give the slice views back what they showed."""
        self._views.leave()

    def onView(self, mode: str, on: bool) -> None:
        """Show a mode in the slice views, or give them back what they showed."""
        run = self._presenter.shown()
        if on and run is not None:
            inputs = run.request.inputs
            segmentations = (inputs.fixedSegmentation, inputs.movingSegmentation)
            self._views.show(mode, inputs.fixed, inputs.moving, run.nodes, segmentations)
            self._panel.showBlend(50)
        else:
            self._views.leave()
        self.show()

    def onPlaceChosen(self, index: int) -> None:
        """Jump to a place in doubt; the first line of the list is its title."""
        if 0 < index <= len(self._places):
            jumpTo(slicer.mrmlScene, self._places[index - 1].point)

    def onBlend(self, percent: int) -> None:
        """Show more or less of the front volume."""
        if self._views.mode in BLENDED:
            self._views.blend(percent / 100.0)

    def onKeepButton(self, checked: bool = False) -> None:
        """Keep a result that is worse than the start."""
        self._panel.keep()

    def onRevertButton(self, checked: bool = False) -> None:
        """Undo the run in the scene, and choose it in the list: Restore puts it back."""
        number = self._presenter.state.current
        self._views.leave()
        self._presenter.revert()
        self.show()
        listed = [run.number for run in self._presenter.runs]
        if self._presenter.state.current != number and number in listed:
            self._ui.runsTable.selectRow(listed.index(number))

    def selectedRuns(self) -> list[Run]:
        """Return the runs that are chosen in the list."""
        listed = list(self._presenter.runs)
        return [listed[row] for row in self._panel.chosenRuns() if row < len(listed)]

    def onRunsSelected(self) -> None:
        """Say what may be done with the chosen runs."""
        count = len(self.selectedRuns())
        self._ui.restoreButton.setEnabled(count == 1 and not self._presenter.state.busy)
        self._ui.compareButton.setEnabled(count == 2)

    def onRestoreButton(self, checked: bool = False) -> None:
        """Put the chosen run back."""
        self._presenter.restore(self.selectedRuns()[0].number)

    def onCompareButton(self, checked: bool = False) -> None:
        """Show what differs between the two chosen runs."""
        first, second = self.selectedRuns()
        self._panel.showComparison(compare(first, second), first.number, second.number)

    def onChartButton(self, checked: bool = False) -> None:
        """Show the course of the run in the view area."""
        run = self._presenter.shown()
        if run is not None and "chart" in run.nodes:
            slicer.modules.plots.logic().ShowChartInLayout(run.nodes["chart"])

    def onReportButton(self, checked: bool = False) -> None:
        """Save the report of the run in the scene, or of the last one."""
        run = self._presenter.shown() or list(self._presenter.runs)[-1]
        path = self._qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(),
            _("Save report"),
            f"RegRefine-run-{run.number}.html",
            _("Page (*.html);;JSON (*.json)"),
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The report was not saved.")):
                labels = run.sources.movingLabels
                inputs = run.request.inputs
                image = picture(inputs.fixed, inputs.moving, run.nodes.get("warpedVolume"))
                saveReport(run, Path(path), labels.names if labels else None, image)
