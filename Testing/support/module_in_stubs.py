"""Runs RegRefine.py as Slicer does, without Slicer, and its self tests and those below.

    python Testing/support/module_in_stubs.py [parts of tests' names]

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
import time
import types
import unittest
from pathlib import Path

import numpy as np
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
        parameters, ui = WIDGET._parameterNode, WIDGET.ui
        choose(steps=33, changedSettings='{"refinement pyramid": {"window": 9}}')
        assert ui.presetComboBox.currentText == "default (changed)"
        assert ui.resetPresetButton.enabled
        rows = [ui.presetComboBox.itemText(row) for row in range(ui.presetComboBox.count)]
        heading = next(row for row, text in enumerate(rows) if "Reg-TTR as published" in text)
        ui.presetComboBox.activated(heading)
        assert parameters.preset == "default"
        assert ui.presetComboBox.currentText == "default (changed)"
        ui.presetComboBox.activated(heading + 2)
        assert (parameters.preset, parameters.steps) == ("reg-ttr-paper", 0)
        assert parameters.changedSettings == ""
        assert "paper" in ui.presetHelpLabel.text
        assert ui.refinementComboBox.currentText == "Reg-TTR (preset)"

    def test_a_change_is_taken_back_by_reset(self):
        choose(preset="fast", smoothness=2.0, symmetric=True)
        WIDGET.ui.resetPresetButton.click()
        parameters = WIDGET._parameterNode
        assert (parameters.preset, parameters.smoothness) == ("fast", 1.0)
        assert not parameters.symmetric
        assert not WIDGET.ui.resetPresetButton.enabled

    def test_a_single_setting_is_changed_in_its_form_and_reaches_the_job(self):
        controls = WIDGET.method._forms["refinement"]._controls
        window = controls["window"]
        assert window.text == "7"
        window.text = "9"
        window.editingFinished()
        WIDGET.settle()
        assert WIDGET.request().job.settings == {"window": 9}
        assert WIDGET.ui.presetComboBox.currentText == "default (changed)"
        window.text = "8"
        window.editingFinished()
        WIDGET.settle()
        assert "odd" in WIDGET.ui.estimateLabel.text
        assert not WIDGET.ui.applyButton.enabled
        choose(refinement=type(WIDGET._parameterNode.refinement).REG_TTR)
        assert "window" not in WIDGET.method._forms["refinement"]._controls
        assert "clip" in WIDGET.method._forms["refinement"]._controls
        assert WIDGET.request().job.settings == {}

    def test_changes_of_chosen_nodes_and_an_imported_scene_wake_the_panel(self):
        ui = WIDGET.ui
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "late")
        choosePair()
        choose(movingVolume=empty)
        assert "late has no voxels" in ui.estimateLabel.text
        slicer.util.updateVolumeFromArray(empty, np.ones((8, 8, 8), np.float32))
        self.answered(lambda: ui.applyButton.enabled)
        points = [
            slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            for name in ("a", "b")
        ]
        points[0].AddControlPoint(1.0, 2.0, 3.0)
        choose(fixedLandmarks=points[0], movingLandmarks=points[1])
        assert not ui.applyButton.enabled
        points[1].AddControlPoint(1.0, 2.0, 3.0)
        self.answered(lambda: ui.applyButton.enabled)
        assert ui.landmarksWeightSlider._object.isEnabledTo(ui.guideGroupBox._object)
        WIDGET._parameterNode.movingVolume.SetName("renamed")
        slicer.mrmlScene.RemoveNode(WIDGET._parameterNode.movingVolume)
        self.answered(lambda: not ui.applyButton.enabled)
        assert ui.movingSelector.currentNode() is None

    def test_a_scene_that_is_read_with_the_panel_open(self):
        """The panel let go of "fix has no voxels" never again."""
        folder = Path(tempfile.mkdtemp())
        choosePair()
        choose(steps=44)
        for kind in ("fixedVolume", "movingVolume"):
            node = getattr(WIDGET._parameterNode, kind)
            storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
            storage.SetFileName(str(folder / f"{kind}.nrrd"))
            assert storage.WriteData(node)
        node = WIDGET._parameterNode.parameterNode
        names = node.GetParameterNamesAsCommaSeparatedList().split(",")
        saved = {name: node.GetParameter(name) for name in names}
        slicer.mrmlScene.Clear()
        scene = slicer.mrmlScene
        scene.StartState(scene.ImportState)
        volumes = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", n) for n in ("fix", "mov")]
        read = WIDGET.logic.getParameterNode()
        for name, value in saved.items():
            read.parameterNode.SetParameter(name, value)
        read.parameterNode.SetParameter("refinement", "FROM_THE_FUTURE")
        read.fixedVolume, read.movingVolume = volumes
        for kind, volume in zip(("fixedVolume", "movingVolume"), volumes, strict=True):
            storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
            storage.SetFileName(str(folder / f"{kind}.nrrd"))
            assert storage.ReadData(volume)
        scene.EndState(scene.ImportState)
        self.answered(lambda: WIDGET.ui.applyButton.enabled)
        assert WIDGET._parameterNode.steps == 44
        assert WIDGET.ui.fixedSelector.currentNode() is volumes[0]

    def test_twenty_steps_of_a_slider_are_answered_once(self):
        choosePair()
        shown = []
        show, WIDGET.method.show = WIDGET.method.show, lambda job: shown.append(job)
        try:
            start = time.perf_counter()
            for step in range(20):
                WIDGET.ui.smoothnessSliderWidget.value = 1.1 + 0.1 * step
            spent = time.perf_counter() - start
            self.answered(lambda: shown)
        finally:
            WIDGET.method.show = show
        assert len(shown) == 1
        assert WIDGET._parameterNode.smoothness == 3.0
        assert spent < 0.4

    def answered(self, condition):
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, WIDGET.ui.estimateLabel.text
            slicer.app.processEvents()

    def test_presets_are_saved_and_loaded(self):
        import qt

        path = Path(slicer.app.temporaryPath) / "mine.json"
        qt.QInputDialog = types.SimpleNamespace(getText=lambda *_: "mine")
        qt.QFileDialog = types.SimpleNamespace(
            getSaveFileName=lambda *_: str(path), getOpenFileName=lambda *_: str(path)
        )
        parameters = WIDGET._parameterNode
        choose(steps=44)
        WIDGET.ui.advancedGroupBox.collapsed = False
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
        self_test = MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing")
        choosePair()
        choose(steps=2)
        WIDGET.ui.applyButton.click()
        WIDGET.exit()
        run = self_test.waitForRun()
        WIDGET.enter()
        assert WIDGET._parameterNode.outputTransform is run.nodes["transform"]

    def test_two_runs_are_listed_compared_and_restored(self):
        self_test = MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing")
        ui, parameters = WIDGET.ui, WIDGET._parameterNode
        choosePair()
        for steps in (2, 4):
            choose(steps=steps)
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

        ui, _parameters = WIDGET.ui, WIDGET._parameterNode
        choosePair()
        choose(backbone=Backbone.NETWORK, model=Model.UNIGRADICON)
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
        choosePair()
        WIDGET.ui.applyButton.click()
        assert WIDGET.logic.presenter.state.busy
        slicer.mrmlScene.Clear()
        assert not WIDGET.logic.presenter.state.busy
        assert WIDGET.ui.applyButton.text == "Apply"


def choose(**values):
    MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing").choose(**values)


def choosePair():
    MODULE_ITSELF.RegRefineTest("test_panel_says_what_is_missing").choosePair()


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
    os.environ.setdefault("REGREFINE_SHOTS", tempfile.mkdtemp())
    MODULE_ITSELF, WIDGET = openModule()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    tests = [*load(ModuleTests), *load(MODULE_ITSELF.RegRefineTest)]
    words = sys.argv[1:]
    suite = unittest.TestSuite(
        test for test in tests if not words or any(word in test.id() for word in words)
    )
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    WIDGET.cleanup()
    left = [path.name for path in Path(slicer.app.temporaryPath).iterdir()]
    sys.stderr.write(f"left in the temporary folder: {left}\n")
    return 0 if result.wasSuccessful() and left in ([], ["mine.json"]) else 1


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Qt's and VTK's wrappers do not agree on how an interpreter is taken down
