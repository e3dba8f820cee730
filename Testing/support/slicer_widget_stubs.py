"""CTK's and Slicer's widgets beside those of pythonqt_stubs.py, and windows of .ui files."""

from __future__ import annotations

import types
import xml.etree.ElementTree as ET
from typing import Any, ClassVar

import support.pythonqt_stubs as pythonqt_stubs
from support.pythonqt_stubs import QDoubleSpinBox, QGroupBox, QWidget


class ctkSliderWidget(QDoubleSpinBox):
    pass


class ctkCollapsibleButton(QWidget):
    PROPERTIES: ClassVar = {"text": ""}


class ctkCollapsibleGroupBox(QGroupBox):
    pass


class qMRMLNodeComboBox(QWidget):
    PROPERTIES: ClassVar = {"nodeTypes": ()}
    SIGNALS: ClassVar = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged"}

    def __init__(self, *_):
        super().__init__()
        self.__dict__["node"] = None

    def currentNode(self):
        return self.node

    def setCurrentNode(self, node):
        changed = node is not self.node
        self.__dict__["node"] = node
        if changed:
            self.emit("currentNodeChanged", node)


class qMRMLTableView(QWidget):
    def __init__(self, *_):
        super().__init__()
        self.__dict__["node"] = None

    def setMRMLTableNode(self, node):
        self.__dict__["node"] = node

    def resizeColumnsToContents(self):
        pass


class qMRMLWidget(QWidget):
    def setMRMLScene(self, scene):
        self.__dict__["scene"] = scene


# by their names, for .ui files and for the modules qt, ctk and slicer
CLASSES = {
    name: kind
    for name, kind in (vars(pythonqt_stubs) | globals()).items()
    if name.startswith(("Q", "ctk", "qMRML"))
}


def module(name: str, **more: Any) -> types.ModuleType:
    """Return `qt` or `ctk`: the classes above and, for all other names, classes nobody is of."""

    class Module(types.ModuleType):
        def __getattr__(self, attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            made = type(attribute, (QWidget,), {})
            setattr(self, attribute, made)
            return made

    made = Module(name)
    vars(made).update(more)
    return made


def load(path: str) -> qMRMLWidget:
    """Return the .ui file's window with its widgets, as loadUI does."""
    window = qMRMLWidget()
    children = []
    for element in ET.parse(path).getroot().iter("widget"):
        widget = window if not children else CLASSES[element.get("class")]()
        widget.objectName = widget.name = element.get("name")
        for declared in element.findall("property"):
            widget.setProperty(declared.get("name"), _valueOf(declared[0]))
        children.append(widget)
    window.__dict__["children"] = children
    return window


def _valueOf(element: ET.Element) -> Any:
    text = "".join(element.itertext()).strip()
    return {
        "bool": lambda: text == "true",
        "number": lambda: int(text),
        "double": lambda: float(text),
        "stringlist": lambda: tuple(child.text for child in element),
    }.get(element.tag, lambda: text)()
