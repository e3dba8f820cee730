"""The module's self tests, run inside Slicer: the panel is opened, Apply and Stop are pressed.

They need no network: the volumes are made here. Runs need PyTorch in Slicer's Python; where it is
missing they are left out, saying so, unless the environment has REGREFINE_REQUIRE_RUN (make
test-slicer sets it).

With REGREFINE_SHOTS, the name of a folder, pictures of the panel's states are saved there, in docks
of 350, 480 and 700 pixels.

A test fails on anything printed while it runs (self_test_guard.py), and where the window stood
still for longer than REGREFINE_LONGEST_GAP_S (0.2) seconds while a run went on.
"""

import logging
import os
import time
import unittest
from pathlib import Path

import numpy as np
import qt
import slicer

from RegRefineLib.errors import RegRefineError

from ..process import packages as dependencies
from .self_test_guard import LongestGap, Printed

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
SIDE, DOCKS = 40, (350, 480, 700)
PATIENCE_S = 300.0
LONGEST_GAP_S = float(os.environ.get("REGREFINE_LONGEST_GAP_S", "0.2"))


def ball(centre, radius=10.0):
    """Return 1 inside a ball of voxels, 0 outside, on a cube of SIDE."""
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), axis=-1)
    return (np.linalg.norm(grid - np.array(centre), axis=-1) < radius).astype(np.uint8)


def addPair():
    """Return nodes of a pair to be registered: fixed, moving, and their label maps."""
    smooth = np.random.default_rng(0).normal(size=(SIDE,) * 3) * 0.01
    shapes = ball((20, 20, 20)), ball((22, 18, 21), 8.0)
    volumes = [
        slicer.util.addVolumeFromArray((shape + smooth).astype(np.float32), name=name)
        for shape, name in zip(shapes, ("fixed", "moving"), strict=True)
    ]
    labels = [
        slicer.util.addVolumeFromArray(
            shape, name=f"{name} labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
        )
        for shape, name in zip(shapes, ("fixed", "moving"), strict=True)
    ]
    return (*volumes, *labels)


class SelfTests:
    """Tests of RegRefineTest, which is also Slicer's own test class."""

    def setUp(self):
        """Begin with an empty scene, and collect what is printed."""
        slicer.mrmlScene.Clear()
        self.printed = Printed()
        self.printed.start()
        self.addCleanup(self.assertNothingPrinted)

    def assertNothingPrinted(self):
        """Fail on what was thrown in a slot or written by VTK: Slicer only prints it."""
        printed = self.printed.stop()
        self.assertFalse(printed, f"this was printed:\n{printed}")

    def runTest(self):
        """Run all tests: this is what Slicer's "Reload and Test" calls."""
        name = f"{type(self).__module__}.{type(self).__name__}"
        tests = unittest.defaultTestLoader.loadTestsFromName(name)
        self.assertTrue(unittest.TextTestRunner(verbosity=2).run(tests).wasSuccessful())

    def test_panel_says_what_is_missing(self):
        """Without volumes Apply is off and the panel says why; with two it is on."""
        ui, parameters = self.openPanel()
        self.assertFalse(ui.applyButton.enabled)
        self.assertIn("fixed volume", ui.estimateLabel.text)
        self.shoot("missing")
        self.choosePair()
        self.assertTrue(ui.applyButton.enabled)
        self.assertIn("voxels", ui.estimateLabel.text)
        self.assertEqual(ui.fixedSelector.currentNode(), parameters.fixedVolume)

    def test_apply_gives_a_transform_that_aligns(self):
        """Apply is pressed; the moving labels under the transform overlap the fixed ones better."""
        if not self.canRun():
            return
        ui, parameters = self.openPanel()
        fixed, moving, fixedLabels, movingLabels = addPair()
        self.choose(
            fixedVolume=fixed,
            movingVolume=moving,
            fixedSegmentation=fixedLabels,
            movingSegmentation=movingLabels,
        )
        ui.applyButton.click()
        self.assertEqual(ui.applyButton.text, "Stop")
        self.shoot("running")
        run = self.waitForRun()
        self.assertGreater(run.after["dice"], run.before["dice"])
        self.assertTrue(parameters.outputTransform)
        self.assertEqual(ui.diceValue.text, f"{run.after['dice']:.3f}")
        self.assertEqual(ui.largestValue.text, f"{run.after['largest_mm']:.1f} mm")
        for name in ("transform", "warpedVolume", "warpedSegmentation", "metrics", "chart"):
            self.assertIn(name, run.nodes)
        self.assertTrue(ui.afterButton.enabled)
        for name in (
            "before",
            "checkerboard",
            "difference",
            "jacobian",
            "grid",
            "flicker",
            "after",
        ):
            getattr(ui, f"{name}Button").click()
            self.shoot(name)
        places = ui.placesComboBox
        self.assertIn(f"Places in doubt: {places.count - 1}", places.itemText(0))
        for row in range(places.count):
            places.activated(row)
        ui.revertButton.click()
        self.shoot("reverted")
        self.assertIsNone(run.nodes["transform"].GetScene())

    def test_stop_keeps_the_best_so_far(self):
        """Stop is pressed in a long run; the result is there all the same."""
        if not self.canRun():
            return
        ui, _parameters = self.openPanel()
        self.choosePair()
        self.choose(steps=2000)
        ui.applyButton.click()
        self.waitFor(lambda: self.presenter().state.losses)
        ui.applyButton.click()
        run = self.waitForRun()
        self.assertTrue(run.stopped)
        self.assertIn("transform", run.nodes)

    def test_discard_changes_nothing(self):
        """Discard is pressed; no node is made."""
        if not self.canRun():
            return
        ui, _parameters = self.openPanel()
        self.choosePair()
        self.choose(steps=2000)
        before = slicer.mrmlScene.GetNumberOfNodes()
        ui.applyButton.click()
        self.waitFor(lambda: self.presenter().state.losses)
        ui.abortButton.click()
        self.waitFor(lambda: not self.presenter().state.busy)
        self.assertEqual(len(self.presenter().runs), 0)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_run_from_a_script(self):
        """RegRefineLogic().run waits and returns the run."""
        if not self.canRun():
            return
        logic = slicer.util.getModuleLogic("RegRefine")
        fixed, moving, *_labels = addPair()
        states = []
        run = logic.run(fixed, moving, onState=states.append)
        self.assertTrue(run.nodes["transform"].IsA("vtkMRMLTransformNode"))
        self.assertTrue(any(state.busy for state in states))

    def test_a_script_that_fails_leaves_the_logic_usable(self):
        """What onState throws ends a run that is waited for; a second run is refused meanwhile."""
        if not self.canRun():
            return
        logic = slicer.util.getModuleLogic("RegRefine")
        fixed, moving, *_labels = addPair()
        refused = []

        def again(state):
            if state.phase == "running":
                with self.assertRaisesRegex(RegRefineError, "under way") as caught:
                    logic.run(fixed, moving)
                refused.append(caught.exception)
                raise KeyError("of the script")

        with self.assertRaises(KeyError):
            logic.run(fixed, moving, "fast", onState=again)
        self.assertEqual(len(refused), 1)
        self.assertFalse(logic.presenter.state.busy)
        self.assertTrue(logic.run(fixed, moving, "fast").nodes["transform"].GetScene())

    def test_the_views_follow_what_is_removed(self):
        """After the warped volume is deleted no button of a view stays pressed."""
        if not self.canRun():
            return
        ui, _parameters = self.openPanel()
        self.choosePair()
        self.choose(steps=2)
        ui.applyButton.click()
        run = self.waitForRun()
        self.assertTrue(ui.afterButton.checked)
        ui.blendSlider.value = 80
        slicer.mrmlScene.RemoveNode(run.nodes["warpedVolume"])
        self.waitFor(lambda: not ui.afterButton.checked)
        self.assertFalse(ui.afterButton.enabled)
        self.assertFalse(ui.blendSlider.enabled)

    # helpers

    def openPanel(self):
        """Return the panel's widgets and parameters, freshly opened."""
        if slicer.util.mainWindow():
            slicer.util.selectModule("RegRefine")
        widget = slicer.util.getModuleWidget("RegRefine")
        widget.enter()
        return widget.ui, widget._parameterNode

    def shoot(self, state):
        """Save pictures of the panel, where the environment names a folder for them."""
        folder = os.environ.get("REGREFINE_SHOTS")
        if not folder:
            return
        panel = slicer.util.getModuleWidget("RegRefine").uiWidget
        before = panel.width, panel.height
        for width in DOCKS:
            panel.resize(width, before[1])
            slicer.app.processEvents()
            self.assertLessEqual(panel.minimumSizeHint.width(), DOCKS[0], "the panel is too wide")
            self.assertTrue(panel.grab().save(str(Path(folder) / f"{state}-{width}.png")))
        panel.resize(*before)

    def choose(self, **values):
        """Set parameters of the panel and have it answer at once, not a moment later."""
        widget = slicer.util.getModuleWidget("RegRefine")
        for name, value in values.items():
            setattr(widget._parameterNode, name, value)
        widget.settle()

    def choosePair(self):
        """Choose two new volumes."""
        fixed, moving, *_labels = addPair()
        self.choose(fixedVolume=fixed, movingVolume=moving)

    def presenter(self):
        """Return the panel's presenter."""
        return slicer.util.getModuleWidget("RegRefine").logic.presenter

    def waitForRun(self):
        """Return the run that is under way, when it has ended well."""
        self.waitFor(lambda: not self.presenter().state.busy)
        state = self.presenter().state
        self.assertNotEqual(state.level, "error", f"{state.message}\n{state.details}")
        return self.presenter().shown()

    def waitFor(self, condition):
        """Let Slicer go on until the condition holds."""
        end = time.monotonic() + PATIENCE_S
        gap = LongestGap(qt.QTimer())
        gap.start()
        while not condition():
            self.assertLess(time.monotonic(), end, str(self.presenter().state))
            slicer.app.processEvents()
            time.sleep(0.01)
        seconds = gap.stop()
        logging.info("RegRefine: the longest gap of a 50 ms timer was %.0f ms", 1000 * seconds)
        self.assertLess(seconds, LONGEST_GAP_S, "the window stood still for so many seconds")

    def canRun(self):
        """Return whether runs are possible here; fail where they must be."""
        if dependencies.ready(REQUIREMENTS):
            return True
        missing = "PyTorch or other packages are not installed in Slicer's Python"
        self.assertFalse(os.environ.get("REGREFINE_REQUIRE_RUN"), missing)
        logging.warning("RegRefine: %s, so tests of runs are left out", missing)
        return False
