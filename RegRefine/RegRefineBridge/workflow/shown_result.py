"""Which run's result is in the scene, and how it goes back and forth."""

from __future__ import annotations

from collections.abc import Callable

from RegRefineLib.errors import RegRefineError

from ..i18n import _
from .history import History, Run
from .interfaces import Scene
from .results import Results
from .state_holder import StateHolder


class ShownResult(StateHolder):
    """The finished runs, and the one that is in the scene (State.current)."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.onPublished: Callable[[Run], None] = lambda run: None
        self._results = Results(scene)

    @property
    def runs(self) -> History:
        """The finished runs of the session."""
        return self._results.history

    def shown(self) -> Run | None:
        """Return the run whose result is in the scene."""
        return self.runs.find(self.state.current) if self.state.current else None

    def revert(self) -> bool:
        """Undo the run that is in the scene: what was there before it is back.

        It stays in the list, from where `restore` puts it back. Returns whether there was something
        to undo.
        """
        run = self.shown()
        if run is None or self.state.busy:
            return False
        try:
            earlier = self._results.undo(run)
        except RegRefineError as error:
            self._say(str(error), "error")
            return False
        if earlier is None:
            text = _("The scene is as it was before run {number}; Restore puts its result back.")
            self._say(text.format(number=run.number), current=0, worse=())
        else:
            self._show(earlier, _("Run {number} is back.").format(number=earlier.number))
        return True

    def restore(self, number: int) -> bool:
        """Put a run's result back into the scene; return whether that could be done."""
        if self.state.busy:
            return False
        try:
            run = self._results.again(self.runs.get(number))
        except RegRefineError as error:
            self._say(str(error), "error")
            return False
        self._show(run, _("Run {number} is back.").format(number=number))
        return True

    def _show(self, run: Run, message: str) -> None:
        self._say(message, current=run.number, worse=tuple(run.worse()))
        self.onPublished(run)
