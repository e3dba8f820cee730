"""Runs RegRefine.py as Slicer does, without Slicer, and its self tests and those below.

    python Testing/support/module_in_stubs.py

The scene is slicer-core's, the widgets are PySide6's under PythonQt's rules (pythonqt.py), Slicer's
own Python half is slicer_python.py, or that of a checkout of Slicer's sources where
SLICER_SOURCE_DIR names one. The worker process is real.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
import tempfile
import types
import unittest
from pathlib import Path

import slicer

from support import slicer_python
from support.paths import ROOT

MODULE = ROOT / "RegRefine" / "RegRefine.py"


def openModule():
    """Load the module as Slicer does, and return it with its widget.

    Slicer has no sys.executable while it loads modules, and afterwards PythonSlicer on its path.
    """
    program, sys.executable = sys.executable, ""
    launcher = Path(tempfile.mkdtemp()) / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n', encoding="utf-8")
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] = os.pathsep.join([str(launcher.parent), os.environ["PATH"]])
    module = importlib.import_module("RegRefine")
    module.RegRefine(slicer_python.Parent(str(MODULE)))
    widget = module.RegRefineWidget(slicer_python.Parent(str(MODULE)))
    widget.setup()
    slicer.util.getModuleWidget = lambda name: widget
    slicer.util.getModuleLogic = lambda name: widget.logic
    return module, widget


class ModuleTests(unittest.TestCase):
    """What the self tests leave to others."""

    def setUp(self):
        from RegRefineBridge.panel.self_test_guard import Printed

        printed = Printed()
        printed.start()
        self.addCleanup(assertNothing, printed)
        slicer.mrmlScene.Clear()
        WIDGET.enter()

    def test_the_parameters_are_in_the_scene_and_in_the_panel(self):
        ui, parameters = WIDGET.ui, WIDGET._parameterNode
        parameters.steps = 33
        assert ui.stepsSpinBox.value == 33
        ui.smoothnessSliderWidget.value = 2.5
        assert parameters.smoothness == 2.5
        ui.refinementComboBox.currentIndex = 2
        assert parameters.refinement == list(type(parameters.refinement))[2]
        again = WIDGET.logic.getParameterNode()
        assert (again.steps, again.smoothness) == (33, 2.5)

    def test_a_choice_of_another_version_is_dropped(self):
        node = WIDGET._parameterNode.parameterNode
        WIDGET.exit()
        node.SetParameter("refinement", "FROM_THE_FUTURE")
        assert WIDGET.logic.getParameterNode().refinement.name == "BY_PRESET"

    def test_the_preset_follows_the_list_and_lets_go_of_changes(self):
        parameters = WIDGET._parameterNode
        parameters.steps = 33
        names = WIDGET.presets.catalogue.names()
        WIDGET.ui.presetComboBox.currentIndex = names.index("reg-ttr-paper")
        assert (parameters.preset, parameters.steps) == ("reg-ttr-paper", 0)
        assert "paper" in WIDGET.ui.presetHelpLabel.text
        combo = WIDGET.ui.presetComboBox
        assert [combo.itemText(row) for row in range(combo.count)] == names

    def test_presets_are_saved_and_loaded(self):
        import qt

        path = Path(slicer.app.temporaryPath) / "mine.json"
        qt.QInputDialog = types.SimpleNamespace(getText=lambda *_: "mine")
        qt.QFileDialog = types.SimpleNamespace(
            getSaveFileName=lambda *_: str(path), getOpenFileName=lambda *_: str(path)
        )
        parameters = WIDGET._parameterNode
        parameters.steps = 44
        WIDGET.ui.savePresetButton.click()
        assert (parameters.preset, parameters.steps) == ("mine", 0)
        assert "44 steps" in WIDGET.ui.presetHelpLabel.text
        WIDGET.ui.loadPresetsButton.click()
        assert parameters.preset == "mine"

    def test_leaving_the_panel_and_coming_back(self):
        WIDGET.exit()
        assert WIDGET._parameterNode is None
        WIDGET.enter()
        assert WIDGET._parameterNode is not None

    def test_a_run_that_ends_behind_another_panel_fills_the_same_nodes_the_next_time(self):
        from RegRefineBridge.panel.self_tests import addPair

        self_test = MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing")
        parameters = WIDGET._parameterNode
        parameters.fixedVolume, parameters.movingVolume, *_ = addPair()
        parameters.steps = 2
        WIDGET.ui.applyButton.click()
        WIDGET.exit()
        run = self_test.waitForRun()
        WIDGET.enter()
        assert WIDGET._parameterNode.outputTransform is run.nodes["transform"]

    def test_two_runs_are_listed_compared_and_restored(self):
        from RegRefineBridge.panel.self_tests import addPair

        self_test = MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing")
        ui, parameters = WIDGET.ui, WIDGET._parameterNode
        parameters.fixedVolume, parameters.movingVolume, *_ = addPair()
        for steps in (2, 4):
            parameters.steps = steps
            ui.applyButton.click()
            self_test.waitForRun()
        transform = parameters.outputTransform
        assert transform is not None
        assert ui.runsTable.rowCount == 2
        assert ui.metricsTableView.mrmlTableNode() is not None
        ui.runsTable.selectAll()
        assert ui.compareButton.enabled
        ui.compareButton.click()
        names = [ui.compareTable.item(row, 0).text() for row in range(ui.compareTable.rowCount)]
        assert "settings.steps" in names
        ui.runsTable.selectRow(0)
        ui.restoreButton.click()
        assert WIDGET.logic.presenter.state.current == self.numbers()[0]
        assert parameters.outputTransform is transform
        ui.revertButton.click()
        assert len(self.numbers()) == 2  # to be restored

    def numbers(self):
        return [run.number for run in WIDGET.logic.presenter.runs]

    def test_weights_are_asked_for_before_they_come_and_a_no_changes_nothing(self):
        from RegRefineBridge.panel.choice_lists import Backbone, Model
        from RegRefineBridge.panel.self_tests import addPair

        ui, parameters = WIDGET.ui, WIDGET._parameterNode
        parameters.fixedVolume, parameters.movingVolume, *_ = addPair()
        parameters.backbone, parameters.model = Backbone.NETWORK, Model.UNIGRADICON
        assert "unigradicon" in ui.presetHelpLabel.text
        assert ui.applyButton.enabled
        asked = []
        slicer.util.confirmOkCancelDisplay = lambda text, *_: asked.append(text)  # which is a no
        count = slicer.mrmlScene.GetNumberOfNodes()
        ui.applyButton.click()
        assert len(asked) == 1
        assert "unigradicon" in asked[0]
        assert "https://" in asked[0]
        assert not WIDGET.logic.presenter.state.busy
        assert slicer.mrmlScene.GetNumberOfNodes() == count

    def test_a_closed_scene_ends_the_run(self):
        from RegRefineBridge.panel.self_tests import addPair

        parameters = WIDGET._parameterNode
        parameters.fixedVolume, parameters.movingVolume, *_ = addPair()
        WIDGET.ui.applyButton.click()
        assert WIDGET.logic.presenter.state.busy
        slicer.mrmlScene.Clear()
        assert not WIDGET.logic.presenter.state.busy
        assert WIDGET.ui.applyButton.text == "Apply"


def assertNothing(printed):
    text = printed.stop()
    assert not text, f"this was printed:\n{text}"


MODULE_ITSELF = WIDGET = None


def main() -> int:
    """Run all tests."""
    global MODULE_ITSELF, WIDGET
    sources = os.environ.get("SLICER_SOURCE_DIR")
    slicer_python.prepare(MODULE, Path(sources) if sources else None)
    os.environ["REGREFINE_REQUIRE_RUN"] = "1"
    os.environ.setdefault("REGREFINE_LONGEST_GAP_S", "2")  # the processor is shared with the run
    os.environ["REGREFINE_CACHE"] = tempfile.mkdtemp()  # weights are not here
    MODULE_ITSELF, WIDGET = openModule()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite([load(ModuleTests), load(MODULE_ITSELF.RegRefineTest)])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    WIDGET.cleanup()
    left = [path.name for path in Path(slicer.app.temporaryPath).iterdir()]
    sys.stderr.write(f"left in the temporary folder: {left}\n")
    return 0 if result.wasSuccessful() and left in ([], ["mine.json"]) else 1


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Qt's and VTK's wrappers do not agree on how an interpreter is taken down
