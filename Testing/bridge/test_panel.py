"""The panel's .ui file and the code that uses it, checked without Slicer."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.paths import ROOT, python_path
from support.pythonqt import RECORD, namesOf

MODULE = ROOT / "RegRefine"
UI = MODULE / "Resources" / "UI" / "RegRefine.ui"
SOURCES = [MODULE / "RegRefine.py", *sorted((MODULE / "RegRefineBridge").rglob("*.py"))]
# widgets that only hold others, or that a label beside them explains
SILENT = {"QWidget", "qMRMLWidget"}
# widget -> kinds of parameter it can be connected with (Slicer's developer guide)
CONNECTORS = {
    "QCheckBox": {"bool"},
    "QComboBox": {"enum"},
    "QSpinBox": {"int"},
    "QDoubleSpinBox": {"float", "int"},
    "ctkSliderWidget": {"float", "int"},
    "QLineEdit": {"str"},
    "qMRMLNodeComboBox": {"node"},
}


@pytest.fixture(scope="module")
def ui():
    return ET.parse(UI).getroot()


@pytest.fixture(scope="module")
def widgets(ui):
    """The classes of the .ui file's widgets, by name."""
    return {w.get("name"): w.get("class") for w in ui.iter("widget")}


def propertyOf(widget, name):
    found = widget.find(f"property[@name='{name}']")
    return None if found is None else "".join(found.itertext()).strip()


def bound(ui):
    """(parameter, widget element) for each widget with a SlicerParameterName."""
    named = ((propertyOf(w, "SlicerParameterName"), w) for w in ui.iter("widget"))
    return [(name, w) for name, w in named if name]


def parameters() -> dict[str, str]:
    """The parameter node's members and their annotations, as written."""
    tree = ast.parse(
        (MODULE / "RegRefineBridge" / "panel" / "parameter_node.py").read_text(encoding="utf-8")
    )
    node = next(n for n in tree.body if getattr(n, "name", "") == "RegRefineParameterNode")
    return {
        m.target.id: ast.unparse(m.annotation) for m in node.body if isinstance(m, ast.AnnAssign)
    }


def kindOf(annotation: str) -> str:
    inner = re.match(r"Annotated\[(\w+)", annotation)
    name = inner.group(1) if inner else annotation
    if name in ("bool", "int", "float", "str"):
        return name
    return "node" if name.startswith("vtkMRML") or name == "LabelsNode" else "enum"


def test_names_are_unique_and_classes_exist_in_slicer(ui, widgets):
    assert len(widgets) == len(list(ui.iter("widget")))
    for name in set(widgets.values()):
        assert namesOf(name), name  # KeyError: nobody has read this class in Slicer
    custom = {c.findtext("class") for c in ui.iter("customwidget")}
    assert custom == {c for c in widgets.values() if not c.startswith("Q")}


def test_every_parameter_name_is_a_parameter_of_the_right_type(ui):
    known = parameters()
    for name, widget in bound(ui):
        assert name in known, f"{widget.get('name')}: there is no parameter {name}"
        assert kindOf(known[name]) in CONNECTORS[widget.get("class")], name


def test_every_parameter_is_in_the_panel(ui):
    names = [name for name, _ in bound(ui)]
    assert len(names) == len(set(names))
    by_hand = {"preset", "changedSettings"}  # whose lists change
    assert set(parameters()) - set(names) == by_hand


def test_node_lists_offer_what_the_parameters_take(ui):
    known = parameters()
    labels = {"vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"}
    for name, widget in bound(ui):
        if widget.get("class") == "qMRMLNodeComboBox":
            types = {s.text for s in widget.find("property[@name='nodeTypes']").iter("string")}
            assert types == (labels if known[name] == "LabelsNode" else {known[name]}), name


def test_ranges_in_the_file_are_those_of_the_parameters(ui):
    for name, widget in bound(ui):
        limits = re.search(r"WithinRange\(([\d.]+), ([\d.]+)\)", parameters()[name])
        if limits:
            low = float(propertyOf(widget, "minimum") or 0)
            assert (low, float(propertyOf(widget, "maximum"))) == tuple(map(float, limits.groups()))


def test_every_mrml_widget_is_given_the_scene(ui, widgets):
    fed = {
        c.findtext("receiver")
        for c in ui.iter("connection")
        if c.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and c.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
        and c.findtext("sender") == "RegRefine"
    }
    needy = {n for n, c in widgets.items() if c.startswith("qMRML") and c != "qMRMLWidget"}
    assert fed == needy


def test_everything_has_a_tooltip_and_nothing_a_style(ui):
    for widget in ui.iter("widget"):
        if widget.get("class") not in SILENT:
            assert propertyOf(widget, "toolTip"), widget.get("name")
    text = UI.read_text(encoding="utf-8")
    assert "styleSheet" not in text
    assert "<font" not in text
    for source in SOURCES:
        assert "setStyleSheet" not in source.read_text(encoding="utf-8")


def test_every_widget_the_code_names_is_in_the_file(widgets):
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        for name in re.findall(r"\b_?ui\.([A-Za-z]\w*)", text):
            assert name in widgets, f"{source.name}: ui.{name}"


def test_widgets_named_in_parts_are_in_the_file(widgets):
    from RegRefineBridge.panel.panel import READ_OUTS, VIEWS

    assert {*READ_OUTS, *(f"{mode}Button" for mode in VIEWS)} <= set(widgets)


def test_properties_in_the_file_are_properties_of_the_classes_in_slicer(ui):
    """Qt's loader takes any other name for a dynamic property and says nothing."""
    for widget in ui.iter("widget"):
        known = namesOf(widget.get("class")).properties
        for each in widget.findall("property"):
            if each.get("stdset") != "0":
                assert each.get("name") in known, f"{widget.get('name')}: {each.get('name')}"


def usesOfWidgets(source: Path):
    """Each `ui.NAME.MEMBER` of a file: name, member, line, and whether it is called.

    Follows names that a widget is given (combo = self._ui.presetComboBox) within a function.
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        aliases = {
            target.id: node.value.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isWidget(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            if isWidget(owner):
                yield owner.attr, node.attr, node.lineno, id(node) in called
            elif isinstance(owner, ast.Name) and owner.id in aliases:
                yield aliases[owner.id], node.attr, node.lineno, id(node) in called


def isWidget(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and re.fullmatch(r"(self\.)?_?ui", ast.unparse(node.value)) is not None
    )


def test_every_member_of_a_widget_that_the_code_names_is_there_in_slicer(widgets):
    """A property is not called, a method is: also where no test comes by."""
    count = 0
    for source in SOURCES:
        for name, member, line, called in usesOfWidgets(source):
            names, where = namesOf(widgets[name]), f"{source.name}:{line}: {name}.{member}"
            count += 1
            assert member in names, f"{where} does not exist"
            if member in names.properties:
                assert not called, f"{where} is a property"
            elif member in names.methods:
                assert called, f"{where} is a method"
    assert count > 40


def test_every_signal_is_one_of_the_class_it_is_connected_to(preview):
    _, ui, *_ = preview
    count = 0
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "connect":
                continue
            if isWidget(node.func.value):
                count += 1
                widget = getattr(ui, node.func.value.attr)
                widget.connect(node.args[0].value, lambda: None)  # AssertionError: no such signal
    assert count > 5


def test_what_is_used_of_slicer_util_and_slicer_app_is_there_in_slicer():
    util = set(" ".join(RECORD["slicer.util"]).split())
    app = {name for lines in RECORD["classes"]["slicer.app"].values() for name in lines}
    app = set(" ".join(app).split())
    count = 0
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        for owner, name in re.findall(r"\bslicer\.(util|app)\.(\w+)", text):
            count += 1
            assert name in (util if owner == "util" else app), f"{source.name}: {name}"
    assert count > 20


def test_classes_of_the_toolkit_are_ones_that_were_read_in_slicer():
    for source in SOURCES:
        for name in re.findall(r"\b(?:self\._)?qt\.(Q\w+)", source.read_text(encoding="utf-8")):
            assert namesOf(name), f"{source.name}: qt.{name}"


def test_translated_texts_are_plain_and_formatted_afterwards():
    count = 0
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                count += 1
                assert isinstance(node.args[0], ast.Constant), f"{source.name}:{node.lineno}"
    assert count > 50


def test_the_presenter_loads_without_toolkit_and_torch():
    program = """
import sys
sys.modules.update(dict.fromkeys(("torch", "vtk", "slicer", "qt", "SimpleITK", "scipy")))
from RegRefineBridge.workflow import presenter
from RegRefineBridge.panel import choice_lists, panel
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=python_path()
    )
    assert done.returncode == 0, done.stderr


def test_the_sample_data_have_addresses_with_their_checksums():
    from RegRefineBridge.panel import sample_data as sampledata

    calls = []

    class Logic:
        @staticmethod
        def registerCustomSampleDataSource(**options):
            calls.append(options)

    sampledata.register(Logic, Path("icon.png"), "RegRefine")  # 5.10: no categories' titles
    (options,) = calls
    for address, checksum in zip(options["uris"], options["checksums"], strict=True):
        algorithm, digest = checksum.split(":")
        assert algorithm == "SHA256"
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert address.startswith("https://github.com/Slicer/SlicerTestingData/releases/download/")
        assert address.endswith(digest)


@pytest.fixture(scope="module")
def preview():
    """The .ui file in PySide6 under PythonQt's rules, as `make panel` opens it."""
    import support.panel_preview as panel_preview
    from RegRefineBridge.panel.panel import Panel
    from support.pythonqt import application, qt

    window, widgets = panel_preview.load()
    panel_preview.fillLists(widgets)
    yield panel_preview, widgets, Panel(widgets, qt)
    window.close()
    application().processEvents()


def test_the_panel_shows_every_phase(preview):
    module, widgets, panel = preview
    module.show(panel, widgets, "idle")
    assert widgets.applyButton.text == "Apply"
    assert not widgets.abortButton.enabled
    module.show(panel, widgets, "running")
    assert widgets.applyButton.text == "Stop"
    assert widgets.abortButton.enabled
    assert widgets.progressBar.value == 70
    assert widgets.timeLabel.text == "14 s left"
    assert widgets.diceValue.text == "0.818"
    assert not widgets.curveLabel.pixmap.isNull()
    module.show(panel, widgets, "done")
    assert widgets.applyButton.text == "Apply"
    assert "Done" in widgets.messageLabel.text
    assert widgets.runsTable.rowCount == 2
    assert widgets.afterButton.checked


def test_apply_is_off_and_says_why_while_something_is_missing(preview):
    _, widgets, panel = preview
    panel.showReady(["Choose the moving volume."], None)
    assert not widgets.applyButton.enabled
    assert widgets.estimateLabel.text == "Choose the moving volume."


def test_two_chosen_runs_are_compared_in_a_table(preview):
    module, widgets, panel = preview
    panel.showRuns(module.exampleRuns(), 2)
    widgets.runsTable.selectAll()
    assert panel.chosenRuns() == [0, 1]
    panel.showComparison([("dice", "0.774", "0.818")], 1, 2)
    assert widgets.compareTable.rowCount == 1
    assert widgets.compareTable.horizontalHeaderItem(2).text() == "run 2"


def test_an_unknown_preset_is_shown_as_none(preview):
    from RegRefineBridge.workflow.method_view import PresetRow

    _, widgets, panel = preview
    rows = [PresetRow("default", "default (changed)", ""), PresetRow("", "Others", "a tip")]
    rows.append(PresetRow("paper", "as its paper says", ""))
    panel.showPresets(rows, "gone")
    assert widgets.presetComboBox.currentIndex == -1
    panel.showPresets(rows, "paper")
    assert widgets.presetComboBox.currentText == "as its paper says"


def test_a_heading_of_the_presets_cannot_be_chosen(preview):
    from PySide6.QtCore import Qt

    _, widgets, _ = preview
    combo = widgets.presetComboBox._object
    flags = [combo.model().index(row, 0).flags() for row in range(combo.count())]
    headings = [i for i, flag in enumerate(flags) if not flag & Qt.ItemFlag.ItemIsSelectable]
    assert headings == [1]


def test_boxes_show_what_the_preset_takes(preview):
    module, widgets, panel = preview
    module.show(panel, widgets, "idle")
    assert widgets.refinementComboBox.currentText == "Diffeomorphic, coarse to fine (preset)"
    assert widgets.backboneComboBox.currentText == "None (preset)"
    assert widgets.stepsSpinBox.specialValueText == "90 (preset)"
    assert not widgets.resetPresetButton.enabled
    names = [row for row in range(widgets.modelComboBox.count)]
    assert any("T1 MR" in widgets.modelComboBox.itemText(row) for row in names)


def test_what_is_worse_than_the_start_is_a_coloured_bar_with_keep_and_revert(preview):
    from RegRefineBridge.panel.panel import BAR_COLOURS
    from RegRefineBridge.workflow.interfaces import State

    _, widgets, panel = preview
    worse = State(message="Dice fell from 0.94 to 0.85 & <more>", worse=("dice",), current=3)
    panel.showState(worse)
    assert BAR_COLOURS["warning"] in widgets.messageLabel.text
    assert "&lt;more&gt;" in widgets.messageLabel.text
    assert widgets.judgementWidget._object.isVisibleTo(widgets.judgementWidget._object.parent())
    panel.keep()
    panel.showState(worse)
    assert widgets.judgementWidget._object.isHidden()
    panel.showState(State(message="fine", current=4))
    assert "bgcolor" not in widgets.messageLabel.text
    assert widgets.judgementWidget._object.isHidden()


@pytest.mark.parametrize("look", ["light", "dark", "large"])
@pytest.mark.parametrize("width", [350, 480, 700])
def test_everything_is_inside_a_dock_of_this_width(width, look):
    """In a process of its own: palette and font are the application's."""
    program = f"""
import argparse
from support import panel_preview
look = argparse.Namespace(
    dark={look == "dark"}, large={look != "light"}, width={width} - 16, state="done", open=True,
    png="x",
)
window = panel_preview.draw(look)
print(window._object.width(), *panel_preview.outside(window))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=python_path(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(width - 16)], done.stdout


def test_gpus_are_named_with_their_free_memory(preview):
    from RegRefineBridge.process.gpus import Gpu

    _, widgets, panel = preview
    panel.showGpus([Gpu(0, "A", 2048, 4096), Gpu(1, "B", 1024, 4096)])
    assert "1: B, 1.0 of 4.0 GB free" in widgets.gpuSpinBox.toolTip
    panel.showGpus([])
    assert "No NVIDIA driver" in widgets.gpuSpinBox.toolTip


def test_a_long_course_and_wide_tables_do_not_widen_the_panel(preview):
    module, widgets, panel = preview
    window = widgets.curveLabel._object.window()
    before = window.minimumSizeHint().width()
    window.resize(900, 800)
    module.show(panel, widgets, "done")
    widgets.curveLabel._object.resize(860, 48)
    module.show(panel, widgets, "done")
    assert widgets.curveLabel.pixmap.width() > 800
    assert window.layout().totalMinimumSize().width() <= max(before, 334)


def test_nothing_in_the_panel_is_a_word_of_the_command_line(widgets):
    text = UI.read_text(encoding="utf-8")
    for source in SOURCES:
        text += source.read_text(encoding="utf-8")
    said = re.findall(r'_\(\s*"((?:[^"\\]|\\.)*)"', text) + re.findall(
        r"<string>(.*?)</string>", text
    )
    assert len(said) > 100
    for sentence in said:
        assert not re.search(r"(?<!-)--\w|regrefine (list|models|register)", sentence), sentence
