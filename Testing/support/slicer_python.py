"""Slicer's own Python half, as far as a scripted module needs it, over the scene of slicer-core.

pip's slicer-core has the MRML classes and slicer.util; it has no Qt, and none of the modules a
scripted module is built on. Those are written here from Slicer's documentation (developer guide:
script repository, parameter nodes): ScriptedLoadableModule, parameterNodeWrapper, i18n and the
functions of slicer.util that show something. A checkout of Slicer's sources can be taken for the
first three instead (`useSources`).
"""

from __future__ import annotations

import enum
import sys
import tempfile
import types
import typing
import unittest
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import slicer
import slicer.util
import vtk

import support.pythonqt as pythonqt
import support.slicer_widgets as widgets
from support.pythonqt import Shown, qt


class WithinRange:
    """A parameter's least and greatest value."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


class _Parameter:
    """One parameter of a node: how it is stored, read, written and shown."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name, self.range = name, None
        if typing.get_origin(annotation) is Annotated:
            annotation, *more = typing.get_args(annotation)
            self.range = next((each for each in more if isinstance(each, WithinRange)), None)
        options = typing.get_args(annotation) or (annotation,)
        self.kinds = tuple(each for each in options if each is not type(None))
        self.isNode = issubclass(self.kinds[0], vtk.vtkObject)
        self.isEnum = issubclass(self.kinds[0], enum.Enum)
        self.default = default
        if default is None and not self.isNode:
            self.default = next(iter(self.kinds[0])) if self.isEnum else self.kinds[0]()

    def read(self, node: Any) -> Any:
        if self.isNode:
            return node.GetNodeReference(self.name)
        if not node.HasParameter(self.name):
            return self.default
        text = node.GetParameter(self.name)
        if self.isEnum:
            return self.kinds[0][text]
        return text == "True" if self.kinds[0] is bool else self.kinds[0](text)

    def write(self, node: Any, value: Any) -> None:
        if not isinstance(value, (*self.kinds, type(None)) if self.isNode else self.kinds) and not (
            self.kinds == (float,) and isinstance(value, int)
        ):
            raise TypeError(f"{self.name}: {value!r} is no {self.kinds[0].__name__}")
        if self.range and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name}: {value} is out of range")
        if self.isNode:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.isEnum else str(value))


# widget -> the signal that says that the user changed it
CHANGED = {
    "QCheckBox": "toggled(bool)",
    "QComboBox": "currentIndexChanged(int)",
    "QSpinBox": "valueChanged(int)",
    "QDoubleSpinBox": "valueChanged(double)",
    "ctkSliderWidget": "valueChanged(double)",
    "QLineEdit": "textChanged(QString)",
    "qMRMLNodeComboBox": "currentNodeChanged(vtkMRMLNode*)",
}


class _Connection:
    """A parameter in a widget: either follows the other."""

    def __init__(self, parameters: Any, parameter: _Parameter, widget: Shown) -> None:
        self.parameters, self.parameter, self.widget = parameters, parameter, widget
        self.kind = widget.className()
        if self.kind == "QComboBox":
            widget.blockSignals(True)
            widget.clear()
            for member in parameter.kinds[0]:
                widget.addItem(member.label())
            widget.blockSignals(False)
        if parameter.range:
            widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
        self.show()
        widget.connect(CHANGED[self.kind], self.take)

    def show(self) -> None:
        value, widget = getattr(self.parameters, self.parameter.name), self.widget
        if self.kind == "qMRMLNodeComboBox":
            widget.setCurrentNode(value)
        elif self.kind == "QComboBox":
            widget.currentIndex = list(type(value)).index(value)
        else:
            name = {"QCheckBox": "checked", "QLineEdit": "text"}.get(self.kind, "value")
            if getattr(widget, name) != value:
                setattr(widget, name, value)

    def take(self) -> None:
        widget, kind = self.widget, self.parameter.kinds[0]
        if self.kind == "qMRMLNodeComboBox":
            value = widget.currentNode()
        elif self.kind == "QComboBox":
            value = list(kind)[widget.currentIndex]
        else:
            name = {"QCheckBox": "checked", "QLineEdit": "text"}.get(self.kind, "value")
            value = kind(getattr(widget, name))
        setattr(self.parameters, self.parameter.name, value)

    def end(self) -> None:
        self.widget.disconnect(CHANGED[self.kind], self.take)


class _Wrapped:
    """Parameters of a vtkMRMLScriptedModuleNode as attributes."""

    _declared: dict[str, _Parameter] = {}  # noqa: RUF012
    _forwarded = ("AddObserver", "RemoveObserver", "HasObserver", "Modified")
    _forwarded += ("StartModify", "EndModify", "GetDisableModifiedEvent")

    def __init__(self, node: Any) -> None:
        object.__setattr__(self, "parameterNode", node)
        object.__setattr__(self, "_shownIn", {})

    def __getattr__(self, name: str) -> Any:
        if name in self._declared:
            return self._declared[name].read(self.parameterNode)
        if name in self._forwarded:
            return getattr(self.parameterNode, name)
        raise AttributeError(f"{type(self).__name__} has no parameter {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._declared:
            raise AttributeError(f"{type(self).__name__} has no parameter {name}")
        self._declared[name].write(self.parameterNode, value)

    def connectGui(self, ui: Any) -> int:
        """Show the parameters in the widgets that name them (SlicerParameterName)."""
        connections = []
        for widget in vars(ui).values():
            name = widget.property("SlicerParameterName")
            if name:
                connections.append(_Connection(self, self._declared[name], widget))

        def follow(caller: Any, event: Any) -> None:
            for each in connections:
                each.show()

        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, follow)
        self._shownIn[tag] = connections
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Let go of the widgets."""
        self.parameterNode.RemoveObserver(tag)
        for each in self._shownIn.pop(tag):
            each.end()


def parameterNodeWrapper(kind: type) -> type:
    """Make a class with annotated members into one whose objects wrap a parameter node."""
    declared = {
        name: _Parameter(name, annotation, vars(kind).get(name))
        for name, annotation in typing.get_type_hints(kind, include_extras=True).items()
    }
    return type(kind.__name__, (_Wrapped,), {"_declared": declared, "__doc__": kind.__doc__})


class ScriptedLoadableModule:
    """A module's description."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent: Any = None) -> None:
        self.parent, self.layout = parent, parent.layout()
        self.moduleName = type(self).__name__.removesuffix("Widget")

    def setup(self) -> None:
        """Build the panel."""

    def resourcePath(self, name: str) -> str:
        """Return the path of a file in the module's folder of resources."""
        return str(Path(slicer.modules.regrefine.path).parent / "Resources" / name)

    def onReload(self) -> None:
        """Load the module again."""


class ScriptedLoadableModuleLogic:
    """A module's logic: its node of parameters is one of the scene's singletons."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        """Return the node, made where it is not there."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self tests."""

    def runTest(self) -> None:
        """Run them all."""


def useStandIns() -> None:
    """Let `slicer.ScriptedLoadableModule` and so on be the classes above."""

    def put(name: str, *members: Any, **more: Any) -> None:
        module = types.ModuleType(f"slicer.{name}")
        vars(module).update({each.__name__: each for each in members}, **more)
        sys.modules[module.__name__] = module
        setattr(slicer, name, module)

    put(
        "ScriptedLoadableModule",
        *(ScriptedLoadableModule, ScriptedLoadableModuleWidget),
        *(ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest),
    )
    put("parameterNodeWrapper", parameterNodeWrapper, WithinRange)
    put("i18n", tr=lambda text: text, translate=lambda context, text: text)


def useSources(folder: Path) -> None:
    """Take Slicer's own files of a checkout for them instead."""
    slicer.__path__.append(str(folder / "Base" / "Python" / "slicer"))
    for name in ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget"):
        setattr(slicer, name, type(name, (), {}))


class Application:
    """slicer.app: what the module uses of it; every name is one that Slicer has."""

    def __init__(self) -> None:
        self.temporaryPath = tempfile.mkdtemp()
        self.slicerUserSettingsFilePath = str(Path(tempfile.mkdtemp()) / "Slicer.ini")
        self.slicerUserSettingsFilePath = str(Path(tempfile.mkdtemp()) / "Slicer.ini")
        self.opened: list[str] = []
        self._slots: dict[str, list[Callable[[], None]]] = {}
        unknown = {name for name in dir(self) if name[0] != "_"} - {"opened", "slotsOf"}
        known = _words(pythonqt.RECORD["classes"]["slicer.app"])
        assert unknown <= known, f"slicer.app has no {sorted(unknown - known)} in Slicer"

    def testingEnabled(self) -> bool:
        return True

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(connect=lambda *_: True, disconnect=lambda *_: True)

    def translate(self, context: str, text: str) -> str:
        return text

    def layoutManager(self) -> None:
        """There is none without a main window, as in Slicer with --no-main-window."""

    def processEvents(self) -> None:
        pythonqt.application().processEvents()

    def connect(self, signature: str, slot: Callable[[], None]) -> bool:
        assert signature in ("startupCompleted()", "aboutToQuit()"), signature
        self._slots.setdefault(signature, []).append(slot)
        return True

    def disconnect(self, signature: str, slot: Callable[[], None]) -> bool:
        self._slots[signature].remove(slot)
        return True

    def slotsOf(self, signature: str) -> list[Callable[[], None]]:
        """Return what is called at a signal (for tests)."""
        return self._slots.get(signature, [])


def _words(entry: dict[str, list[str]]) -> set[str]:
    return {word for lines in entry.values() for line in lines for word in line.split()}


class Parent:
    """What Slicer gives a module or its widget as its parent."""

    def __init__(self, path: str) -> None:
        self.title = self.categories = self.dependencies = self.contributors = None
        self.helpText = self.acknowledgementText = self.icon = None
        self.path, self.isEntered = path, True
        self._widget = qt.QWidget()
        self._layout = qt.QVBoxLayout(self._widget)

    def layout(self) -> Any:
        return self._layout


@contextmanager
def noDisplay(message: Any = None, show: bool = True, waitCursor: bool = False):
    """tryWithErrorDisplay without a display: errors come out."""
    yield


def settingsValue(key: str, default: Any, converter: Any = None, settings: Any = None) -> Any:
    """slicer.util.settingsValue."""
    value = qt.QSettings().value(key)
    if value is None:
        return default
    return converter(value) if converter else value


def prepare(module: Path, sources: Path | None = None) -> None:
    """Make `import slicer, qt, ctk` what a module finds in Slicer, with an empty scene."""
    pythonqt.application()
    sys.modules["qt"], sys.modules["ctk"] = pythonqt.qt, pythonqt.ctk
    if sources is None:
        useStandIns()
    else:
        useSources(sources)
    for name in ("qMRMLNodeComboBox", "qMRMLTableView", "qMRMLWidget"):
        setattr(slicer, name, pythonqt.Kind(name, widgets.CLASSES[name]))
    slicer.app = Application()
    slicer.modules = types.SimpleNamespace(regrefine=types.SimpleNamespace(path=str(module)))
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    slicer.app.colours = slicer.vtkMRMLColorLogic()  # the scene's own tables of colours
    slicer.app.colours.SetMRMLScene(slicer.mrmlScene)
    shows = {
        "loadUI": widgets.load,
        "childWidgetVariables": widgets.children,
        "mainWindow": lambda: None,
        "tryWithErrorDisplay": noDisplay,
        "settingsValue": settingsValue,
    }
    known = set(" ".join(pythonqt.RECORD["slicer.util"]).split())
    assert set(shows) <= known, sorted(set(shows) - known)
    for name, function in shows.items():
        setattr(slicer.util, name, function)
