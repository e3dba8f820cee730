"""Qt as Slicer's Python shows it: PySide6's objects under PythonQt's rules.

`qt.QLabel()` makes a real QLabel, wrapped so that it has the names that PythonQt was found to show
of that class in a real Slicer (pythonqt_facts.json) and no others: a Q_PROPERTY is an attribute to
read and to write, everything else that is listed is a method, a signal is connected by its C++
signature. PySide's spelling (`label.text()`), a setter that Slicer does not have
(`ctkCollapsibleButton.setCollapsed`) and a signal that is spelt wrongly raise AttributeError,
TypeError or AssertionError here. What a slot throws goes to sys.excepthook and the program goes on,
as in Slicer.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import inspect
import json
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QObject

if sys.version_info < (3, 12):
    # PySide6 counts on None being immortal, as it is from Python 3.12 on: each of its calls that
    # returns None takes a reference to it away, and after some ten thousand the program aborts
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

RECORD = json.loads(Path(__file__).with_name("pythonqt_facts.json").read_text(encoding="utf-8"))
# classes that no one read in Slicer: the public methods of Qt 5.15's documentation that are used
ALSO = {
    "QHeaderView": {"like": "QWidget", "methods": ["setStretchLastSection setSectionResizeMode"]},
    "QItemSelectionModel": {"methods": ["isRowSelected selectedRows"]},
    "QModelIndex": {"methods": ["row column isValid"]},
    "QIcon": {"methods": ["isNull pixmap"]},
    "QSize": {"methods": ["width height"]},
    "QPalette": {"methods": ["color"]},
    "QFontMetrics": {"methods": ["height averageCharWidth boundingRect"]},
}


@dataclass(frozen=True)
class Names:
    """The names of a class, by what they are."""

    methods: frozenset[str]
    properties: frozenset[str]
    signals: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.methods | self.properties | self.signals


@functools.cache
def namesOf(className: str) -> Names:
    """Return the names that Slicer shows of a class.

    Raises:
        KeyError: it was not read.
    """
    entry = {**ALSO, **RECORD["classes"]}[className]
    own = [_split(entry, kind) for kind in ("methods", "properties", "signals")]
    if "like" in entry:
        more = namesOf(entry["like"])
        own = [a | b for a, b in zip(own, (more.methods, more.properties, more.signals))]  # noqa: B905
    return Names(*own)


def _split(entry: dict[str, Any], kind: str) -> frozenset[str]:
    return frozenset(" ".join(entry.get(kind, [])).split())


# class of a stand-in -> signature in Slicer -> signature of the stand-in's signal in PySide
OTHER_SIGNATURES: dict[str, dict[str, str]] = {}
# class name -> the class made for it, for what is not Qt's own (slicer_widgets.py)
STAND_INS: dict[str, type] = {}


class Shown:
    """One object of Qt with PythonQt's names."""

    __slots__ = ("__weakref__", "_connections", "_names", "_object")

    def __init__(self, thing: Any) -> None:
        for name, value in (
            ("_object", thing),
            ("_names", _namesFor(thing)),
            ("_connections", []),
        ):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        names, thing = self._names, self._object
        if name not in names and name not in ("connect", "disconnect", "className"):
            raise AttributeError(f"{_className(thing)} has no {name} in Slicer")
        if name == "connect" or name == "disconnect":
            return getattr(self, f"_{name}")
        if name == "className":
            return lambda: _className(thing)
        if name[0].isupper():  # a constant of an enum
            return shown(getattr(type(thing), name))
        if name in names.properties and isinstance(thing, QObject):
            return shown(thing.property(name))
        if name in names.signals:
            return SignalOf(self, name)
        return _method(thing, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._names.properties:
            raise AttributeError(f"{_className(self._object)} has no property {name} in Slicer")
        if isinstance(value, Path):
            raise TypeError(f"{name}: a str is needed, got a Path")
        if not self._object.setProperty(name, hidden(value)) and name not in ("visible",):
            self._object.property(name)  # a dynamic property of a stand-in: it was set

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and self._object is other._object

    def __hash__(self) -> int:
        return id(self._object)

    def __repr__(self) -> str:
        return f"<{_className(self._object)} {getattr(self._object, 'objectName', str)()}>"

    def _connect(self, signature: str, slot: Any) -> bool:
        theirs = _signature(self._object, self._names, signature)

        thing = self._object

        def called(*values: Any) -> None:
            try:
                if theirs != signature:
                    values = thing.valuesOf(signature)
                slot(*[shown(value) for value in values[: _taken(slot)]])
            except Exception:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]

        done = QObject.connect(self._object, QtCore.SIGNAL(theirs), called)
        self._connections.append((signature, slot, called, theirs))
        return bool(done)

    def _disconnect(self, signature: str, slot: Any) -> bool:
        for each in list(self._connections):
            if each[:2] == (signature, slot):
                self._connections.remove(each)
                return bool(QObject.disconnect(self._object, QtCore.SIGNAL(each[3]), each[2]))
        raise AssertionError(f"{signature} was not connected with {slot}")


class SignalOf:
    """A signal as an attribute: to be connected, or called, which emits it."""

    def __init__(self, owner: Shown, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, slot: Any) -> bool:
        """Connect the signal's first form."""
        kind = type(self._owner._object)
        meta = self._owner._object.metaObject()
        for index in range(meta.methodCount()):
            method = meta.method(index)
            if bytes(method.name()).decode() == self._name:
                return self._owner._connect(bytes(method.methodSignature()).decode(), slot)
        raise AssertionError(f"{kind.__name__} has no signal {self._name}")

    def __call__(self, *values: Any) -> None:
        thing = self._owner._object
        try:
            getattr(thing, self._name).emit(*map(hidden, values))
        except TypeError:  # another form of the signal
            getattr(thing, self._name)[tuple(type(value) for value in values)].emit(*values)


def _signature(thing: QObject, names: Names, signature: str) -> str:
    """Return a signal's signature for PySide, after a check that Slicer has it."""
    name = signature.partition("(")[0]
    other = OTHER_SIGNATURES.get(_className(thing), {}).get(signature)
    theirs = other or signature
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    exists = thing.metaObject().indexOfSignal(theirs) >= 0
    if "(" not in signature or name not in names.signals or normal != signature or not exists:
        raise AssertionError(f"signal {signature} does not exist on {_className(thing)}")
    return theirs


def _taken(slot: Any) -> int:
    """How many values a slot takes: PythonQt passes no more."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(slot).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in kinds for p in parameters)


def _method(thing: Any, name: str) -> Any:
    function = getattr(thing, name)

    def called(*values: Any) -> Any:
        if any(isinstance(value, Path) for value in values):
            raise TypeError(f"{name}: a str is needed, got a Path")
        return shown(function(*map(hidden, values)))

    return called if callable(function) else shown(function)


def _className(thing: Any) -> str:
    return type(thing).__name__


def _namesFor(thing: Any) -> Names:
    for kind in type(thing).__mro__:
        try:
            return namesOf(kind.__name__)
        except KeyError:
            continue
    raise AttributeError(f"{type(thing).__name__}: look its names up in a Slicer first")


def shown(value: Any) -> Any:
    """Return what Slicer's Python gets for a value of PySide."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return tuple(shown(each) for each in value)
    if isinstance(value, QObject):
        known = value.__dict__.get("_shown") if hasattr(value, "__dict__") else None
        if known is None:
            known = Shown(value)
            value._shown = known  # type: ignore[attr-defined]
        return known
    if type(value).__module__.startswith("PySide6"):
        return Shown(value)
    return value


def hidden(value: Any) -> Any:
    """Return what PySide is given for a value of Slicer's Python."""
    if isinstance(value, Shown):
        return value._object
    if isinstance(value, (list, tuple)):
        return [hidden(each) for each in value]
    return value


class Kind:
    """A class of `qt`, `ctk` or `slicer`: to be called, or asked for static methods and enums."""

    def __init__(self, name: str, real: type) -> None:
        self.__name__, self._real = name, real

    def __call__(self, *values: Any) -> Any:
        return shown(self._real(*map(hidden, values)))

    def __getattr__(self, name: str) -> Any:
        if name not in namesOf(self.__name__):
            raise AttributeError(f"{self.__name__} has no {name} in Slicer")
        found = getattr(self._real, name)
        return _method(self._real, name) if callable(found) else shown(found)


class Namespace(types.ModuleType):
    """`qt` or `ctk`: the classes whose names are known, and no others."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "Qt":
            return _Enums()
        if name not in RECORD["classes"] and name not in ALSO:
            raise AttributeError(f"{self.__name__} has no {name} that was read in Slicer")
        real = STAND_INS.get(name)
        for module in (QtWidgets, QtGui, QtCore):
            real = real or getattr(module, name, None)
        if real is None:
            raise AttributeError(f"{self.__name__}.{name} has no stand-in")
        made = Kind(name, real)
        setattr(self, name, made)
        return made


class _Enums:
    """qt.Qt: numbers."""

    def __getattr__(self, name: str) -> int:
        return int(getattr(QtCore.Qt, name).value)


class Settings:
    """qt.QSettings, kept in memory and not in the user's files."""

    KEPT: dict[str, Any] = {}  # noqa: RUF012

    def setValue(self, key: str, value: Any) -> None:
        self.KEPT[key] = value

    def value(self, key: str, default: Any = None) -> Any:
        return self.KEPT.get(key, default)

    def contains(self, key: str) -> bool:
        return key in self.KEPT

    def remove(self, key: str) -> None:
        self.KEPT.pop(key, None)


def application() -> Any:
    """Return the application, made where there is none."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


qt = Namespace("qt")
ctk = Namespace("ctk")
qt.QSettings = Settings  # type: ignore[attr-defined]
