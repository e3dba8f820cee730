"""The presets of the panel: the list, the user's own file, and the choice of a weights file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from RegRefineLib.errors import RegRefineError

from ..i18n import _
from ..workflow.job_choices import Catalogue, UserPreset, describe
from ..workflow.method_view import MethodView
from ..workflow.preset_file import loadPresets, savePresets
from ..workflow.weights import networkRows, removeFetched
from .choice_lists import Model, readable
from .panel import Panel

SETTING = "RegRefine/presets"
JSON = "JSON (*.json)"


class PresetSection:
    """Wiring of the presets and of the networks' weights.

    Args:
        jobNow: returns the job that the panel describes.
        choose: is called with the name of a preset to be used as it is.
        chooseWeights: is called with the path of a file of weights.
        showAgain: is called when the panel must show once more what is chosen.
    """

    def __init__(self, ui: Any, qt: Any, panel: Panel, **calls: Callable[..., Any]) -> None:
        self.catalogue, self._shown = Catalogue(), MethodView()
        self._ui, self._qt, self._panel = ui, qt, panel
        self._jobNow, self._choose = calls["jobNow"], calls["choose"]
        self._chooseWeights, self._showAgain = calls["chooseWeights"], calls["showAgain"]
        ui.presetComboBox.connect("activated(int)", self.onPresetChosen)
        ui.resetPresetButton.connect("clicked(bool)", self.onResetPresetButton)
        ui.savePresetButton.connect("clicked(bool)", self.onSavePresetButton)
        ui.loadPresetsButton.connect("clicked(bool)", self.onLoadPresetsButton)
        ui.weightsFileButton.connect("clicked(bool)", self.onWeightsFileButton)
        ui.removeWeightsButton.connect("clicked(bool)", self.onRemoveWeightsButton)

    def show(self, method: MethodView) -> None:
        """Show a method, and the networks as they are on this computer now."""
        self._shown = method
        self._panel.showMethod(method)
        self._panel.showNetworks(networkRows(), [each.value for each in Model])

    def loadLastFile(self) -> None:
        """Take the presets of the file that was used last, if it is still there."""
        path = slicer.util.settingsValue(SETTING, "")
        if not path or not Path(path).is_file():
            return
        try:
            self.load(path)
        except RegRefineError:  # it was changed since; the user can load it and read why not
            return

    def load(self, path: str) -> None:
        """Take the presets of a file, and remember the file.

        Raises:
            RegRefineError: as userpresets.loadPresets.
        """
        loaded = {preset.name: preset for preset in loadPresets(Path(path))}
        self.catalogue = Catalogue({**self.catalogue.own, **loaded})
        self._qt.QSettings().setValue(SETTING, str(path))

    def onPresetChosen(self, index: int) -> None:
        """Take the preset of the list."""
        name = self._shown.presets[index].name if index < len(self._shown.presets) else ""
        if name:
            self._choose(name)
        self._showAgain()

    def onResetPresetButton(self, checked: bool = False) -> None:
        """Let go of all changes to the preset."""
        self._choose(self._shown.chosen)
        self._showAgain()

    def onRemoveWeightsButton(self, checked: bool = False) -> None:
        """Delete the downloaded weights after a question."""
        names = [row.name for row in networkRows() if row.fetched]
        question = _("Delete the downloaded weights of {names} from this computer?")
        if names and slicer.util.confirmOkCancelDisplay(
            question.format(names=", ".join(names)), _("RegRefine")
        ):
            with slicer.util.tryWithErrorDisplay(_("The weights were not deleted.")):
                removeFetched(names)
            self._showAgain()

    def onSavePresetButton(self, checked: bool = False) -> None:
        """Keep the present method as a preset in a file."""
        window = slicer.util.mainWindow()
        name = self._qt.QInputDialog.getText(window, _("Save preset"), _("Name of the preset:"))
        if not name:
            return
        path = self._qt.QFileDialog.getSaveFileName(
            window, _("Save presets"), "RegRefine-presets.json", JSON
        )
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The preset was not saved.")):
            job = self._jobNow()
            presets = {**self.catalogue.own, name: UserPreset(name, job, describe(job, readable))}
            savePresets(Path(path), presets.values())
            self.load(path)
            self._choose(name)

    def onLoadPresetsButton(self, checked: bool = False) -> None:
        """Load presets from a file."""
        path = self._qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Load presets"), "", JSON
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The presets were not loaded.")):
                own = loadPresets(Path(path))
                self.load(path)
                if own:
                    self._choose(own[0].name)

    def onWeightsFileButton(self, checked: bool = False) -> None:
        """Choose a file of weights."""
        path = self._qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Weights"), "")
        if path:
            self._chooseWeights(path)
