"""Results in the scene: published once, put back, undone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.worker.job_folder import RESULT_ARRAYS, read_result

from ..i18n import _
from .chunked import finished
from .history import History, Run
from .interfaces import Request, Scene


@dataclass(frozen=True, eq=False)
class Current:
    """The run under way: what was asked, and the inputs' fingerprint at its start."""

    request: Request
    sources: Any
    folder: Path
    fingerprint: Any


class Results:
    """The finished runs and their nodes."""

    def __init__(self, scene: Scene) -> None:
        self.history = History()
        self._scene = scene

    def publish(self, current: Current, stopped: bool) -> Generator[None, None, Run | None]:
        """Return, in short steps, a finished run with its nodes; the last step changes the scene.

        None where an input changed meanwhile.

        Raises:
            RegRefineError: the result cannot be read or published.
        """
        request = current.request
        ready = read_result(current.folder)
        loaded = yield from self._scene.load(ready)
        yield
        if self._scene.fingerprint(request.inputs) != current.fingerprint:
            return None
        memento = self._scene.remember(request)
        nodes = self._scene.publish(loaded, request, current.sources)
        _dropInputs(current.folder)
        return self.history.add(
            ready,
            request.title,
            stopped=stopped,
            folder=current.folder,
            request=request,
            sources=current.sources,
            memento=memento,
            nodes=nodes,
        )

    def again(self, run: Run) -> Run:
        """Put a run's result back into the scene, and return it with its nodes.

        Raises:
            RegRefineError: its arrays are gone, or an input is.
        """
        if run.folder is None:
            raise RegRefineError(
                _("The arrays of run {number} made room for later ones.").format(number=run.number)
            )
        chosen = {**run.request.chosen, "transform": run.nodes["transform"]}
        request = replace(run.request, chosen=chosen)
        loaded = finished(self._scene.load(read_result(run.folder)))
        nodes = self._scene.publish(loaded, request, run.sources)
        return self.history.replace(run, nodes=nodes)

    def undo(self, run: Run) -> Run | None:
        """Take a run's result out of the scene and forget it; return the run that is back, if any.

        That is the one before it that filled the same transform. Without one, nodes that were made
        for the run go and those it filled are as before.

        Raises:
            RegRefineError: the run before cannot be published again.
        """
        earlier = self._before(run)
        if earlier is None:
            self._scene.putBack(run.nodes, run.memento)
        else:
            earlier = self.again(earlier)
            extra = {
                output: node
                for output, node in run.nodes.items()
                if node is not earlier.nodes.get(output)
            }
            if extra:  # what this run was asked for and the one before was not
                self._scene.putBack(extra, run.memento)
        self.history.remove(run)
        return earlier

    def _before(self, run: Run) -> Run | None:
        transform = run.nodes.get("transform")
        earlier = [
            other
            for other in self.history
            if other.number < run.number
            and other.folder is not None
            and other.nodes.get("transform") is transform
        ]
        return earlier[-1] if earlier else None


def _dropInputs(folder: Path) -> None:
    """Delete the arrays that went to the worker; those that came back stay."""
    kept = {f"{name}.npy" for name in RESULT_ARRAYS}
    for path in folder.glob("*.npy"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
