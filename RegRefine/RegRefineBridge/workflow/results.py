"""Results in the scene: published in short steps, put back, undone."""

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
from .interfaces import Inputs, Node, Request, Scene


@dataclass(frozen=True, eq=False)
class Current:
    """The run under way: what was asked, and the inputs' fingerprint at its start."""

    request: Request
    sources: Any
    folder: Path
    fingerprint: Any
    remarks: tuple[str, ...] = ()


class Results:
    """The finished runs and their nodes."""

    def __init__(self, scene: Scene) -> None:
        self.history = History(scene.forget)
        self._scene = scene

    def publish(
        self, current: Current, stopped: bool, previous: int
    ) -> Generator[None, None, Run | None]:
        """Return, in short steps, a finished run with its nodes; None where an input changed.

        Whoever leaves before the last step leaves the scene as it was.

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
        names = self._scene.names(request.inputs)
        made: dict[str, Node] = {}
        whole = False
        try:
            nodes = yield from self._scene.publish(loaded, request, current.sources, made)
            whole = True
        finally:
            if not whole:
                self._scene.putBack(made, memento)
        _dropInputs(current.folder)
        return self.history.add(
            ready,
            request.title,
            fixedName=names[0],
            movingName=names[1],
            stopped=stopped,
            warnings=(*current.remarks, *ready.record["warnings"]),
            folder=current.folder,
            request=request,
            sources=current.sources,
            memento=memento,
            previous=previous,
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
        nodes = finished(self._scene.publish(loaded, request, run.sources, {}))
        return self.history.replace(run, nodes=nodes)

    def undo(self, run: Run) -> Run | None:
        """Take a run's result out of the scene; return the run that is back, if any.

        The nodes it made go and those it filled are as before, which may be an earlier run's
        result. The run stays in the list, to be put back.

        Raises:
            RegRefineError: what was there before made room for later runs.
        """
        if run.memento is None:
            raise RegRefineError(
                _("What was there before run {number} made room for later ones.").format(
                    number=run.number
                )
            )
        self._scene.putBack(run.nodes, run.memento)
        transform = run.nodes.get("transform")
        earlier = self.history.find(run.previous)
        if earlier is not None and earlier.nodes.get("transform") is transform:
            return earlier
        return None

    def ofThisPair(self, request: Request) -> Request:
        """Return the request without chosen nodes that hold a run's result of other volumes.

        The panel keeps the nodes of the last run chosen; another pair gets nodes of its own.
        """
        others = [
            node
            for run in self.history
            if _volumes(run.request.inputs) != _volumes(request.inputs)
            for node in run.nodes.values()
        ]
        chosen = {output: node for output, node in request.chosen.items() if node not in others}
        return replace(request, chosen=chosen)


def _volumes(inputs: Inputs) -> tuple[Node, Node]:
    return inputs.fixed, inputs.moving


def _dropInputs(folder: Path) -> None:
    """Delete the arrays that went to the worker; those that came back stay."""
    kept = {f"{name}.npy" for name in RESULT_ARRAYS}
    for path in folder.glob("*.npy"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
