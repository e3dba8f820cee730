"""Plain Python objects that behave like PythonQt's widgets, as far as RegRefine uses them.

Properties are attributes (widget.text), setters are methods (widget.setText(...)), signals are
connected by their C++ signature or as attributes, and what is not declared here does not exist, so
that PySide's spelling (widget.text()) or a wrong signature fails.
"""

from __future__ import annotations

import inspect
import time
import types
from typing import Any, ClassVar


class Signal:
    """A signal: connect, disconnect, and a call emits it."""

    def __init__(self):
        self.slots: list[Any] = []

    def connect(self, slot):
        self.slots.append(slot)

    def disconnect(self, slot):
        self.slots.remove(slot)

    def __call__(self, *values):
        for slot in list(self.slots):
            slot(*values[: _taken(slot)])


def _taken(slot) -> int:
    """How many values a slot takes: PythonQt passes no more."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(slot).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in kinds for p in parameters)


class QObject:
    """Properties and signals by declaration; subclasses add theirs."""

    PROPERTIES: ClassVar[dict[str, Any]] = {"objectName": "", "name": ""}
    SIGNALS: ClassVar[dict[str, str]] = {}  # signature -> attribute

    def __init__(self, *_):
        mro = reversed(type(self).__mro__)
        declared = [vars(kind) for kind in mro]
        values: dict[str, Any] = {}
        self.__dict__["_signals"] = {}
        for each in declared:
            values |= each.get("PROPERTIES", {})
            for signature, name in each.get("SIGNALS", {}).items():
                shared = self._signals.get(name) or Signal()
                self._signals[name] = self._signals[signature] = shared
        self.__dict__["_values"] = values
        self.__dict__["_dynamic"] = {}
        self.__dict__["_blocked"] = False

    def __getattr__(self, name):
        if name in self._values:
            return self._values[name]
        if name in self._signals and "(" not in name:
            return self._signals[name]
        if name.startswith("set") and name[3:4].isupper():
            target = name[3].lower() + name[4:]
            if target in self._values:
                return lambda value: setattr(self, target, value)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __setattr__(self, name, value):
        if name not in self._values:
            raise AttributeError(f"{type(self).__name__} has no property {name}")
        changed = self._values[name] != value
        self._values[name] = value
        if changed:
            self.changed(name, value)

    def changed(self, name, value):
        """What happens when a property changes."""

    def emit(self, name, *values):
        if not self._blocked:
            self._signals[name](*values)

    def connect(self, signature, slot):
        if signature not in self._signals or "(" not in signature:
            raise AssertionError(f"signal {signature} does not exist on {type(self).__name__}")
        self._signals[signature].connect(slot)
        return True

    def disconnect(self, signature, slot):
        self._signals[signature].disconnect(slot)

    def blockSignals(self, blocked):
        before = self._blocked
        self.__dict__["_blocked"] = blocked
        return before

    def setProperty(self, name, value):
        if name in self._values:
            setattr(self, name, value)
        else:
            self._dynamic[name] = value

    def property(self, name):
        return self._dynamic.get(name, self._values.get(name))


class QWidget(QObject):
    PROPERTIES: ClassVar = {"enabled": True, "visible": True, "toolTip": "", "collapsed": False}

    def layout(self):
        return types.SimpleNamespace(addWidget=lambda widget: None)


class QAbstractButton(QWidget):
    PROPERTIES: ClassVar = {"text": "", "checkable": False, "checked": False}
    SIGNALS: ClassVar = {
        "clicked()": "clicked",
        "clicked(bool)": "clicked",
        "toggled(bool)": "toggled",
    }

    def changed(self, name, value):
        if name == "checked":
            self.emit("toggled", value)

    def click(self):
        if not self.enabled:
            return
        if self.checkable:
            self.checked = not self.checked
        self.emit("clicked", self.checked)


class QPushButton(QAbstractButton):
    pass


class QToolButton(QAbstractButton):
    pass


class QCheckBox(QAbstractButton):
    SIGNALS: ClassVar = {"stateChanged(int)": "stateChanged"}

    def changed(self, name, value):
        if name == "checked":
            self.emit("stateChanged", 2 if value else 0)


class QLabel(QWidget):
    PROPERTIES: ClassVar = {"text": "", "pixmap": None, "width": 300, "height": 60}

    def clear(self):
        self.text = ""


class QLineEdit(QWidget):
    PROPERTIES: ClassVar = {"text": ""}
    SIGNALS: ClassVar = {"textChanged(QString)": "textChanged"}

    def changed(self, name, value):
        self.emit("textChanged", value)


class QComboBox(QWidget):
    PROPERTIES: ClassVar = {"currentIndex": -1}
    SIGNALS: ClassVar = {"currentIndexChanged(int)": "currentIndexChanged"}

    def __init__(self, *_):
        super().__init__()
        self.__dict__["items"] = []

    def changed(self, name, value):
        self.emit("currentIndexChanged", value)

    def addItem(self, text):
        self.items.append(text)
        if self.currentIndex < 0:
            self.currentIndex = 0

    def clear(self):
        self.items.clear()
        self.currentIndex = -1


class _Number(QWidget):
    PROPERTIES: ClassVar = {"value": 0, "minimum": 0, "maximum": 99, "decimals": 2, "singleStep": 1}
    SIGNALS: ClassVar = {
        "valueChanged(int)": "valueChanged",
        "valueChanged(double)": "valueChanged",
    }

    def setRange(self, low, high):
        self.minimum, self.maximum = low, high

    def changed(self, name, value):
        if name == "value":
            self.emit("valueChanged", value)


class QSpinBox(_Number):
    pass


class QDoubleSpinBox(_Number):
    pass


class QProgressBar(QWidget):
    PROPERTIES: ClassVar = {"value": 0, "textVisible": True}


class QGroupBox(QWidget):
    PROPERTIES: ClassVar = {"title": ""}


class QTableWidgetItem:
    def __init__(self, text):
        self.text = text


class QTableWidget(QWidget):
    PROPERTIES: ClassVar = {"rowCount": 0, "columnCount": 0, "horizontalHeaderLabels": ()}
    SIGNALS: ClassVar = {"itemSelectionChanged()": "itemSelectionChanged"}

    def __init__(self, *_):
        super().__init__()
        self.__dict__.update(cells={}, rows=set())

    def setItem(self, row, column, item):
        self.cells[row, column] = item.text

    def verticalHeader(self):
        return QWidget()

    def horizontalHeader(self):
        return types.SimpleNamespace(setStretchLastSection=lambda on: None)

    def resizeColumnsToContents(self):
        pass

    def rootIndex(self):
        return None

    def selectionModel(self):
        return types.SimpleNamespace(isRowSelected=lambda row, root: row in self.rows)

    def select(self, *rows):
        """Choose rows, as a user does."""
        self.__dict__["rows"] = set(rows)
        self.emit("itemSelectionChanged")


class QTimer(QObject):
    """Rings when the events are processed and its time has come."""

    PROPERTIES: ClassVar = {"interval": 0, "active": False}
    SIGNALS: ClassVar = {"timeout()": "timeout"}
    ALL: ClassVar[list[QTimer]] = []

    def __init__(self, *_):
        super().__init__()
        self.__dict__["due"] = 0.0
        QTimer.ALL.append(self)

    def start(self):
        self.active = True
        self.__dict__["due"] = time.monotonic() + self.interval / 1000

    def stop(self):
        self.active = False


def processEvents() -> None:
    """Let timers ring that are due."""
    for timer in list(QTimer.ALL):
        if timer.active and time.monotonic() >= timer.due:
            timer.start()
            timer.timeout()


class QSettings:
    KEPT: ClassVar[dict[str, Any]] = {}

    def setValue(self, key, value):
        self.KEPT[key] = value

    def value(self, key):
        return self.KEPT[key]

    def contains(self, key):
        return key in self.KEPT


class _Drawing:
    def __init__(self, *_):
        pass

    def __getattr__(self, name):
        known = "fill begin end setPen setColor setWidth drawLine"
        if name not in known.split():
            raise AttributeError(name)
        return lambda *_: None


class QColor(_Drawing):
    pass


class QPen(_Drawing):
    pass


class QPixmap(_Drawing):
    pass


class QPainter(_Drawing):
    pass


class QIcon(_Drawing):
    pass
