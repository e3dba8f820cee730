"""What the panel shows, and who hears of its changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .interfaces import State


class StateHolder:
    """The present State; `onChanged` is called with every new one.

    The state is changed before the callback hears of it, so that a callback that fails leaves
    nothing half done.
    """

    def __init__(self) -> None:
        self.onChanged: Callable[[State], None] = lambda state: None
        self.state = State()

    def _end(self, message: str, level: str, details: str = "", **changes: Any) -> None:
        """Leave the run with a sentence."""
        self._change(
            phase="idle",
            stage="",
            secondsLeft=None,
            message=message,
            level=level,
            details=details,
            **changes,
        )

    def _say(self, message: str, level: str = "info", **changes: Any) -> None:
        self._change(message=message, level=level, details="", **changes)

    def _change(self, **changes: Any) -> None:
        self._set(replace(self.state, **changes))

    def _set(self, state: State) -> None:
        self.state = state
        self.onChanged(state)
