"""Forms made from a method's settings class: a control for each setting, with its help as a tip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..workflow.settings_list import Row


class SettingsForm:
    """The controls of one method's settings.

    Args:
        layout: a QFormLayout, which is filled anew when another method is shown.
        change: called with a setting's name and its new value, None for the preset's own.
    """

    def __init__(self, layout: Any, qt: Any, change: Callable[[str, Any], None]) -> None:
        self._layout, self._qt, self._change = layout, qt, change
        self._shown: tuple[str, ...] = ()
        self._controls: dict[str, Any] = {}
        self._rows: dict[str, Row] = {}

    def show(self, method: str, rows: Sequence[Row]) -> None:
        """Show the settings of a method with the values that the run will take."""
        self._rows = {row.setting.name: row for row in rows}
        shown = (method, *self._rows)
        if shown != self._shown:
            self._build(rows)
            self._shown = shown
        for row in rows:
            self._write(row)

    def _build(self, rows: Sequence[Row]) -> None:
        while self._layout.rowCount() > 0:
            self._layout.removeRow(0)  # deletes the controls
        self._controls = {}
        for row in rows:
            name = row.setting.name
            label = self._qt.QLabel(name.replace("_", " "))
            control = self._control(row)
            label.setToolTip(row.tip)
            control.setToolTip(row.tip)
            control.setObjectName(f"{name}Setting")
            self._layout.addRow(label, control)
            self._controls[name] = control

    def _control(self, row: Row) -> Any:
        name, default = row.setting.name, row.setting.default
        if isinstance(default, bool):
            control = self._qt.QCheckBox()
            control.connect("clicked(bool)", lambda on, name=name: self._take(name, bool(on)))
            return control
        if row.setting.choices:
            control = self._qt.QComboBox()
            control.minimumContentsLength = 6
            control.sizeAdjustPolicy = self._qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
            for choice in row.setting.choices:
                control.addItem(choice)
            choices = row.setting.choices
            control.connect(
                "activated(int)", lambda index, name=name: self._take(name, choices[index])
            )
            return control
        control = self._qt.QLineEdit()
        control.setMinimumWidth(40)
        control.connect("editingFinished()", lambda name=name: self._typed(name))
        return control

    def _write(self, row: Row) -> None:
        name, control = row.setting.name, self._controls[row.setting.name]
        if isinstance(row.setting.default, bool):
            control.checked = str(row.value).lower() in ("true", "1")
        elif row.setting.choices:
            known = str(row.value)
            index = row.setting.choices.index(known) if known in row.setting.choices else -1
            control.currentIndex = index
        elif control.text != _text(row.value):
            control.text = _text(row.value)
        mark = "\N{BULLET} " if row.changed else ""
        label = self._layout.labelForField(control)
        label.setText(mark + name.replace("_", " "))

    def _typed(self, name: str) -> None:
        text = self._controls[name].text.strip()
        if text != _text(self._rows[name].value):
            self._take(name, text if text else None)

    def _take(self, name: str, value: Any) -> None:
        """Keep a value, a number as a number where the text is one."""
        default = self._rows[name].setting.default
        if isinstance(value, str) and isinstance(default, (int, float)):
            try:
                number = float(value)
                value = int(number) if isinstance(default, int) and number.is_integer() else number
            except ValueError:
                pass  # kept as it was typed: the settings' own check says what is wrong
        self._change(name, value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
