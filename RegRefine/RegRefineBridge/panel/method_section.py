"""The Method section of the panel: presets, what they take, and the forms of single settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import slicer

from RegRefineLib.job import Job
from RegRefineLib.presets import resolve

from ..process.gpus import gpus
from ..workflow import weights as models
from ..workflow.job_choices import Catalogue
from ..workflow.method_view import methodView
from ..workflow.settings_list import REFINEMENT, START
from .choice_lists import readable
from .panel import Panel
from .parameter_node import changeSetting, inputsOf, methodOf, useAsItIs
from .preset_section import PresetSection
from .settings_form import SettingsForm


class MethodSection:
    """Wiring of the Method section.

    Args:
        parameters: returns the parameter node, None while none is shown.
        settle: shows the panel's parameters once more, now.
    """

    def __init__(
        self,
        ui: Any,
        qt: Any,
        panel: Panel,
        parameters: Callable[[], Any],
        settle: Callable[[], None],
    ) -> None:
        self._panel, self._parameters = panel, parameters
        self._presets = PresetSection(
            ui,
            qt,
            panel,
            jobNow=lambda: methodOf(parameters(), self.catalogue),
            choose=self.usePreset,
            chooseWeights=self.useWeights,
            showAgain=settle,
        )
        self._forms = {
            START: SettingsForm(
                ui.startSettingsGroupBox.layout(), qt, partial(self.changeSetting, START)
            ),
            REFINEMENT: SettingsForm(
                ui.refinementSettingsGroupBox.layout(), qt, partial(self.changeSetting, REFINEMENT)
            ),
        }
        self._presets.loadLastFile()
        panel.showGpus(gpus())

    @property
    def catalogue(self) -> Catalogue:
        """The presets that are known."""
        return self._presets.catalogue

    def show(self, job: Job) -> None:
        """Show a job's preset and settings in every box.

        Raises:
            RegRefineError: the preset is not loaded.
        """
        parameters = self._parameters()
        job = job.replaced(inverse=False, jacobian=False)
        method = methodView(self.catalogue, parameters.preset, job, readable, models.summary(job))
        self._presets.show(method)
        whole = resolve(job)
        for kind, name, rows in (
            (START, whole.start, method.start),
            (REFINEMENT, whole.refinement, method.refinement),
        ):
            self._forms[kind].show(name or "none", rows)
        inputs = inputsOf(parameters)
        self._panel.showGuides(
            bool(inputs.fixedLandmarks and inputs.movingLandmarks),
            bool(inputs.fixedSegmentation and inputs.movingSegmentation),
        )

    def usePreset(self, name: str) -> None:
        """Choose a preset as it is."""
        parameters = self._parameters()
        if parameters:
            with slicer.util.NodeModify(parameters):
                useAsItIs(parameters, name)

    def useWeights(self, path: str) -> None:
        """Choose a file of weights."""
        parameters = self._parameters()
        if parameters:
            parameters.weightsFile = path

    def changeSetting(self, kind: str, name: str, value: Any) -> None:
        """Keep a single setting of the backbone or the refinement; None: the preset's own."""
        parameters = self._parameters()
        if parameters:
            changeSetting(parameters, self.catalogue, kind, name, value)
