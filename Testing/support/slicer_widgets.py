"""CTK's and Slicer's widgets made of PySide6's, and the windows of .ui files.

Each stand-in has the sizes and the behaviour of the real one as far as a panel shows them; which
names Slicer's Python has of it is not decided here but in pythonqt_facts.json.
"""

from __future__ import annotations

import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6.QtCore import Property, QBuffer, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QGroupBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

import support.pythonqt as pythonqt
from support.pythonqt import Shown, shown


class Collapses:
    """What opens and shuts: shut, it is as high as its title."""

    def setCollapsed(self, shut: bool) -> None:
        if shut != self.isCollapsed():
            self._shut = shut
            self.setMaximumHeight(self.fontMetrics().height() + 10 if shut else 16777215)
            self.updateGeometry()
            self.contentsCollapsed.emit(shut)

    def isCollapsed(self) -> bool:
        return getattr(self, "_shut", False)


class ctkCollapsibleButton(Collapses, QAbstractButton):
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self.fontMetrics().height() + 10, 0, 0)
        self.toggled.connect(lambda on: self.setCollapsed(not on))

    collapsed = Property(bool, Collapses.isCollapsed, lambda self, shut: self.setChecked(not shut))

    def paintEvent(self, event):
        option = QStyleOptionButton()
        option.initFrom(self)
        height = self.fontMetrics().height() + 8
        option.rect = self.rect().adjusted(0, 0, 0, height - self.height())
        mark = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        if not self.isCollapsed():
            mark = "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        painter = QPainter(self)
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelButtonCommand, option, painter)
        painter.setPen(self.palette().buttonText().color())
        where = option.rect.adjusted(8, 0, 0, 0)
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(where, flags, f"{mark} {self.text()}")


class ctkCollapsibleGroupBox(Collapses, QGroupBox):
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(lambda on: self.setCollapsed(not on))

    collapsed = Property(bool, Collapses.isCollapsed, lambda self, shut: self.setChecked(not shut))


def _ofTheNumber(name: str, kind: type) -> Any:
    """Return a property of a slider that is its number's."""
    setter = f"set{name[0].upper()}{name[1:]}"

    def read(self):
        return getattr(self.number, name)()

    def write(self, value):
        getattr(self.number, setter)(value)

    return Property(kind, read, write)


class ctkSliderWidget(QWidget):
    valueChanged = Signal(float)
    value, minimum = _ofTheNumber("value", float), _ofTheNumber("minimum", float)
    maximum, singleStep = _ofTheNumber("maximum", float), _ofTheNumber("singleStep", float)
    decimals, suffix = _ofTheNumber("decimals", int), _ofTheNumber("suffix", str)
    prefix = _ofTheNumber("prefix", str)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.slider, self.number = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self.slider.setMaximum(1000)
        row.addWidget(self.slider)
        row.addWidget(self.number)
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._typed)

    def _slid(self, position):
        low, high = self.number.minimum(), self.number.maximum()
        if position != self._position():
            self.number.setValue(low + (high - low) * position / 1000)

    def _position(self):
        low, high = self.number.minimum(), self.number.maximum()
        return round(1000 * (self.number.value() - low) / ((high - low) or 1))

    def _typed(self, value):
        self.slider.setValue(self._position())
        self.valueChanged.emit(value)

    def setRange(self, low, high):
        self.number.setRange(low, high)

    def setValue(self, value):
        self.number.setValue(value)

    def reset(self):
        self.number.setValue(0)


class qMRMLNodeComboBox(QWidget):
    """A list of a scene's nodes of some classes, and "None"."""

    # without the node: PySide loses count of None in signals of objects; see `valuesOf`
    currentNodeChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QVBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.box = QComboBox()
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        row.addWidget(self.box)
        self.scene, self.node, self.nodes = None, None, []
        self._tags: list[int] = []
        self.box.activated.connect(lambda index: self.setCurrentNode(self.nodes[index]))
        for name, value in (("nodeTypes", []), ("noneDisplay", "None"), ("noneEnabled", False)):
            self.setProperty(name, value)

    def setMRMLScene(self, scene):
        if scene is self.scene:
            return
        self.scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent):
            self._tags.append(scene.AddObserver(event, lambda *_: self.fill()))
        self.fill()

    def mrmlScene(self):
        return self.scene

    def fill(self):
        types_ = [str(each) for each in self.property("nodeTypes") or ()]
        count = self.scene.GetNumberOfNodes()
        every = [self.scene.GetNthNode(index) for index in range(count)]
        fitting = [
            node
            for node in every
            if any(node.IsA(each) for each in types_) and not node.GetHideFromEditors()
        ]
        self.nodes = [*([None] if self.property("noneEnabled") else []), *fitting]
        self.box.blockSignals(True)
        self.box.clear()
        for node in self.nodes:
            self.box.addItem(node.GetName() if node else str(self.property("noneDisplay")))
        gone = self.node is not None and self.node not in self.nodes
        self.box.blockSignals(False)
        if gone:
            self.setCurrentNode(None)
        self.box.setCurrentIndex(self.nodes.index(self.node) if self.node in self.nodes else -1)

    def currentNode(self):
        return self.node

    def setCurrentNode(self, node):
        changed = node is not self.node
        self.node = node
        self.box.setCurrentIndex(self.nodes.index(node) if node in self.nodes else -1)
        if changed:
            self.currentNodeChanged.emit()

    def valuesOf(self, signal):
        """Return what a signal says, where PySide's own does not carry it."""
        return (self.node,)


class qMRMLTableView(QTableWidget):
    """A table node's cells, under letters unless the node's own titles are to be shown."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.table = None

    def setMRMLScene(self, scene):
        pass

    def mrmlTableNode(self):
        return self.table

    def setMRMLTableNode(self, node):
        self.table = node
        columns = node.GetNumberOfColumns() if node else 0
        rows = node.GetNumberOfRows() if node else 0
        self.setColumnCount(columns)
        self.setRowCount(rows)
        titles = [node.GetColumnName(column) for column in range(columns)]
        if node and not node.GetUseColumnTitleAsColumnHeader():
            titles = [chr(ord("A") + column) for column in range(columns)]
        self.setHorizontalHeaderLabels(titles)
        for row in range(rows):
            for column in range(columns):
                self.setItem(row, column, QTableWidgetItem(node.GetCellText(row, column)))

    def setFirstRowLocked(self, locked):
        pass


class qMRMLWidget(QWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.scene, self.fed = None, []

    def setMRMLScene(self, scene):
        self.scene = scene
        for child in self.fed:
            child.setMRMLScene(scene)

    def mrmlScene(self):
        return self.scene


CLASSES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget),
        *(qMRMLNodeComboBox, qMRMLTableView, qMRMLWidget),
    )
}
pythonqt.STAND_INS.update(CLASSES)
pythonqt.OTHER_SIGNATURES.update(
    {
        "qMRMLNodeComboBox": {
            "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged()",
        },
    }
)


class Loader(QUiLoader):
    """Makes the widgets of a .ui file."""

    def createWidget(self, className, parent=None, name=""):
        if className not in CLASSES:
            return super().createWidget(className, parent, name)
        widget = CLASSES[className](parent)
        widget.setObjectName(name)
        return widget


def load(path: str) -> Shown:
    """Return the window of a .ui file, as slicer.util.loadUI does; its scene goes to who wants it.

    Raises:
        ValueError: the file cannot be loaded.
    """
    if not isinstance(path, str):
        raise TypeError(f"loadUI: a str is needed, got {type(path).__name__}")
    pythonqt.application()
    whole = Path(path).read_text(encoding="utf-8")
    bare, _, rest = whole.partition("<connections>")
    buffer = QBuffer()
    buffer.setData((bare + ("</ui>" if rest else "")).encode())
    loader = Loader()
    window = loader.load(buffer)
    if window is None:
        raise ValueError(f"{path} cannot be loaded: {loader.errorString()}")
    widgets = {each.objectName(): each for each in window.findChildren(QWidget)}
    window.fed = [
        widgets[each.findtext("receiver")]
        for each in ET.fromstring(whole).iter("connection")
        if each.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    ]
    return shown(window)


def children(window: Shown) -> types.SimpleNamespace:
    """Return the window's widgets by name, as slicer.util.childWidgetVariables does."""
    found = window._object.findChildren(QWidget)
    named = {each.objectName(): shown(each) for each in found if each.objectName()}
    return types.SimpleNamespace(**named)
