"""What the panel does, without a toolkit.

    presenter = Presenter(scene, worker, newFolder)
    presenter.onChanged = panel.show          # a State, whenever something changed
    presenter.missing(request)                # sentences; empty when Apply may be pressed
    presenter.question(request)               # what must be agreed to before; mostly ""
    presenter.start(request)                  # then poll() every 0.1 s
    presenter.stop(); presenter.cancel()
    presenter.revert(); presenter.restore(2)  # shown_result.py

A run goes: the scene's nodes as arrays -> a job folder -> the worker -> events -> the result back
into the scene, in short steps, a few a poll. A result is dropped where its inputs were changed in
the meantime. Earlier results stay on disk for a while, so that a run can be undone, or an earlier
one be put back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.worker.job_folder import Handling, write_job

from ..i18n import _
from ..process.client import Failure
from . import weights as models
from .chunked import Steps, advance
from .estimate import Estimate, estimate
from .history import Run, verdict
from .interfaces import Request, Scene, State, Worker
from .progress import followed
from .results import Current
from .shown_result import ShownResult
from .timings import Timings

SLICE_S = 0.05  # of publishing, at a time


class Presenter(ShownResult):
    """One panel's runs.

    Args:
        newFolder: makes an empty folder for a run and returns it.
        timings: how long runs took on this machine; None: of this session alone.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        scene: Scene,
        worker: Worker,
        newFolder: Callable[[], Path],
        timings: Timings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(scene)
        self._scene = scene
        self._worker = worker
        self._newFolder = newFolder
        self._timings = timings or Timings()
        self._clock = clock
        self._began = 0.0
        self._current: Current | None = None
        self._publishing: Steps[Run | None] | None = None
        self._reason = ""
        worker.onEvent = self._onEvent
        worker.onFinished = self._onFinished
        worker.onFailed = self._onFailed

    # what the panel asks before a run

    def missing(self, request: Request) -> list[str]:
        """Return a sentence for each thing that keeps a run from starting."""
        request = self._results.ofThisPair(request)
        weights = models.missing(request.job)
        nodes = self._scene.missing(request.inputs) or self._scene.refused(request)
        return [*nodes, *filter(None, [weights])]

    def estimate(self, request: Request) -> Estimate | None:
        """Return the time and memory a run will take, or None where the volumes are not there."""
        size = self._scene.size(request.inputs)
        if size is None:
            return None
        return estimate(size, request.job, self._timings, warm=self._worker.warm)

    def question(self, request: Request) -> str:
        """Return what the user must agree to before the run (a download, an overwriting), or "".

        Raises:
            RegRefineError: what is needed cannot be had.
        """
        questions = []
        overwritten = self._scene.overwritten(self._results.ofThisPair(request))
        if overwritten:
            questions.append("\n".join([*overwritten, _("Go on?")]))
        needed = models.toFetch(request.job)
        if needed:
            questions.append(models.question(needed))
        return "\n\n".join(questions)

    def warmUp(self) -> None:
        """Start the worker before it is needed."""
        self._worker.warmUp()

    # a run

    def start(self, request: Request) -> bool:
        """Start a run; return whether it started, and say in the state why if not.

        Raises:
            RegRefineError: a run is under way.
        """
        if self.state.busy:
            raise RegRefineError(_("A run is under way; wait for its end, or stop it first."))
        request = self._results.ofThisPair(request)
        missing = self.missing(request)
        if missing:
            self._say(" ".join(missing), "error")
            return False
        fetch = tuple(model.name for model in models.toFetch(request.job))
        if fetch and not request.download:
            text = _("The weights {names} are not on this computer; agree to their download first.")
            self._say(text.format(names=", ".join(fetch)), "error")
            return False
        self._began = self._clock()
        folder = self._newFolder()
        try:
            self._current = self._written(request, folder, fetch)
        except RegRefineError as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._say(str(error), "error")
            return False
        self._reason = ""
        self._set(
            State(
                phase="running",
                stage=_("Starting the worker"),
                warnings=self._current.remarks,
                current=self.state.current,
            )
        )
        self._worker.start(folder)
        return True

    def _written(self, request: Request, folder: Path, fetch: tuple[str, ...]) -> Current:
        """Write the job into its folder; return the run that is to start."""
        material = self._scene.read(request.inputs)
        handling = Handling(material.movingToWorld, "displacement" in request.wanted, fetch)
        # the scene inverts the transform itself, exactly
        job = request.job.replaced(inverse=False)
        write_job(folder, material.fixed, material.moving, job, material.extras, handling)
        fingerprint = self._scene.fingerprint(request.inputs)
        return Current(request, material.sources, folder, fingerprint, material.remarks)

    def stop(self) -> None:
        """End the run at its next step and keep the best field so far."""
        if self.state.phase == "running":
            self._change(phase="stopping", stage=_("Stopping, keeping the best so far"))
            self._worker.stop()

    def cancel(self, reason: str = "") -> None:
        """Drop the run; the scene stays as it was."""
        if self._publishing is not None:
            self._leave()
            self._end(reason or _dropped(), "info")
        elif self.state.busy and not self._worker.running:
            self._leave()  # a listener failed before the worker was asked
            self._end(reason or _dropped(), "info")
        elif self.state.busy:
            self._reason = reason
            self._change(phase="stopping", stage=_("Dropping the run"))
            self._worker.cancel()

    def poll(self) -> None:
        """Take what has come from the worker; drop the run where an input was removed."""
        self._worker.poll()
        if self._publishing is not None:
            self._publishOn(self._publishing)
        current = self._current
        if (
            current is not None
            and not self._reason
            and self._scene.fingerprint(current.request.inputs) is None
        ):
            self.cancel(_("An input was removed from the scene, so the run was dropped."))

    def sceneClosing(self) -> None:
        """Drop the run and forget the history: its nodes are going."""
        if self._worker.running:
            self._worker.close()  # there is no time to wait for an orderly end
        self._leave()
        self.runs.clear()
        self._set(State())

    def close(self) -> None:
        """End the worker and delete all that lies on disk."""
        self._worker.close()
        self._leave()
        self.runs.clear()
        self._set(State())

    # what comes from the worker

    def _onEvent(self, event: dict[str, Any]) -> None:
        if self._current is not None:
            self._set(followed(self.state, event))

    def _onFinished(self, event: dict[str, Any]) -> None:
        if self._current is None:
            return
        stopped = bool(event.get("stopped"))
        self._publishing = self._results.publish(self._current, stopped, self.state.current)
        stage = _("Putting the result into the scene")
        self._change(phase="publishing", stage=stage, secondsLeft=None)
        self._publishOn(self._publishing)

    def _publishOn(self, steps: Steps[Run | None]) -> None:
        """Take a few steps of the publication, and see to its end."""
        try:
            advance(steps, SLICE_S)
            return
        except StopIteration as end:
            run = end.value
        except (RegRefineError, MemoryError, OSError) as error:
            self._leave()
            self._end(str(error) or _("The memory did not suffice for the result."), "error")
            return
        self._published(run)  # out here, so that an error of a listener does not carry the run

    def _published(self, run: Run | None) -> None:
        if run is None:
            self._leave()
            self._end(
                _(
                    "An input was changed during the run, so its result was dropped. "
                    "Press Apply to run again."
                ),
                "warning",
            )
            return
        self._current = self._publishing = None
        self._timings.add(run, self._clock() - self._began)
        self._end(
            verdict(run),
            "warning" if run.worse() else "info",
            current=run.number,
            worse=tuple(run.worse()),
            warnings=tuple(dict.fromkeys((*self.state.warnings, *run.warnings))),
        )
        self.onPublished(run)

    def _onFailed(self, failure: Failure) -> None:
        self._leave()
        if failure.kind == "cancelled":
            self._end(self._reason or _dropped(), "info")
            return
        self._end(failure.message, "error", failure.details)

    def _leave(self) -> None:
        """Forget the run under way and delete its folder."""
        current, self._current = self._current, None
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.close()  # what is in the scene of it goes
        if current is not None:
            shutil.rmtree(current.folder, ignore_errors=True)


def _dropped() -> str:
    return _("The run was dropped; the scene is as it was.")
