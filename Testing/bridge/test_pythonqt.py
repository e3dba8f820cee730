"""The harness refuses what Slicer refuses: mistakes that PySide or a plain stub would accept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import slicer_widgets
from support.paths import python_path
from support.pythonqt import RECORD, application, ctk, namesOf, qt


@pytest.fixture(autouse=True)
def running():
    application()


def test_a_setter_that_slicer_does_not_have():
    """`setCollapsed` kept every result from being shown in a real Slicer."""
    button = ctk.ctkCollapsibleButton()
    with pytest.raises(AttributeError, match="ctkCollapsibleButton has no setCollapsed in Slicer"):
        button.setCollapsed(True)
    button.collapsed = True
    assert button.collapsed


def test_a_property_called_as_pyside_has_it():
    combo = qt.QComboBox()
    combo.addItem("row")
    assert combo.currentText == "row"
    with pytest.raises(TypeError):
        combo.currentText()


@pytest.mark.parametrize("signal", ["clicked(int)", "pushed()", "clicked", "clicked( bool )"])
def test_a_signal_that_does_not_exist(signal):
    with pytest.raises(AssertionError, match="does not exist on QPushButton"):
        qt.QPushButton().connect(signal, print)


def test_a_name_nobody_has_read_in_slicer():
    with pytest.raises(AttributeError):
        qt.QGraphicsBlurEffect  # noqa: B018
    with pytest.raises(AttributeError):
        qt.QLabel().setTextt("x")
    with pytest.raises(AttributeError):
        qt.QLabel().txt = "x"


def test_a_path_where_a_text_is_needed():
    with pytest.raises(TypeError):
        qt.QLabel().setText(Path("x"))


def test_what_a_slot_throws_goes_to_the_hook_and_the_program_goes_on(monkeypatch):
    caught = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: caught.append(error[0]))
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: {}["missing"])
    button.click()
    button.click()
    assert caught == [KeyError, KeyError]


def test_a_slot_gets_as_many_values_as_it_takes():
    got = []
    box = qt.QSpinBox()
    box.connect("valueChanged(int)", lambda value: got.append(value))
    box.connect("valueChanged(int)", lambda: got.append("none"))
    box.value = 3
    assert got == [3, "none"]


def test_the_guard_of_the_self_tests_collects_slots_vtk_and_stderr():
    import vtk
    from RegRefineBridge.panel.self_test_guard import Printed

    printed = Printed()
    printed.start()
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: [][0])
    button.click()
    reader = vtk.vtkXMLImageDataReader()
    reader.SetFileName("/no/such/file.vti")
    reader.Update()
    sys.stderr.write("a line\n")
    text = printed.stop()
    assert "IndexError" in text
    assert "vtkXMLImageDataReader" in text
    assert "a line" in text
    printed.start()
    assert printed.stop() == ""


def test_the_longest_gap_of_a_timer_is_measured():
    import time

    from RegRefineBridge.panel.self_test_guard import LongestGap

    gap = LongestGap(qt.QTimer())
    gap.start()
    time.sleep(0.3)
    application().processEvents()
    assert 0.3 <= gap.stop() < 2


def test_the_module_loads_while_sys_executable_is_empty():
    """Slicer sets it later, or never; a worker's interpreter is looked up when one is started."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    program = """
import sys
from support import slicer_python
from support.paths import ROOT
slicer_python.prepare(ROOT / "RegRefine" / "RegRefine.py")
sys.executable = ""
import RegRefine
RegRefine.RegRefineLogic()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=python_path(),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_stand_in_has_the_signals_and_properties_that_the_panel_uses():
    """A property of a .ui file that Slicer's class does not have would only be a dynamic one."""
    for name, kind in slicer_widgets.CLASSES.items():
        names = namesOf(name)
        own = {each for each in vars(kind) if not each.startswith("_")}
        public = {each for each in own if re.fullmatch("set[A-Z].*|current.*", each)}
        assert public <= {*names.methods, *names.properties, *names.signals, "setRange"} | {
            "setCollapsed"
        }, name
    assert "setCollapsed" not in namesOf("ctkCollapsibleButton").methods
    assert RECORD["read in"].startswith("3D Slicer")
