"""Runs from scripts: one call that returns when the result is in the scene, following it or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job

from .history import Run
from .interfaces import Inputs, Node, Request, State
from .presenter import Presenter

POLL_S = 0.02
CANCEL_S = 3.0
OPTIONS = ("wanted", "chosen", "download")


def requestFor(
    fixed: Node,
    moving: Node,
    job: Job | str | None,
    outputs: Collection[str],
    default: Collection[str],
    **options: Any,
) -> Request:
    """Return what a script asks for.

    Args:
        job: a Job, the name of a preset, or None for the default one.
        outputs: the names of outputs that there are; default: those that are wanted without a word.
        options: other Inputs by name (fixedSegmentation=...); wanted, chosen and download as in
            Request.

    Raises:
        RegRefineError: an option or an output of another name; a job of another kind.
    """
    if isinstance(job, str):
        job = Job(preset=job)
    elif job is None:
        job = Job()
    elif not isinstance(job, Job):
        raise RegRefineError(f"job: a Job or the name of a preset is needed, got {job!r}")
    inputs = {each.name for each in fields(Inputs)} - {"fixed", "moving"}
    _known("option", options, {*inputs, *OPTIONS})
    nodes = {name: options.pop(name) for name in inputs & set(options)}
    wanted = options.pop("wanted", tuple(default))
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    chosen = dict(options.pop("chosen", {}))
    _known("wanted output", wanted, outputs)
    _known("chosen output", chosen, outputs)
    job = job.replaced(jacobian=job.jacobian or "jacobian" in wanted)
    return Request(Inputs(fixed, moving, **nodes), job, wanted, chosen, job.preset, **options)


def runBlocking(
    presenter: Presenter,
    request: Request,
    onState: Callable[[State], None] | None = None,
    breathe: Callable[[], object] | None = None,
) -> Run:
    """Run and return when the result is in the scene.

    Whatever ends the waiting, an error of `onState` or the keyboard, also ends the run: nothing is
    left under way, and the presenter's own listener is back.

    Args:
        onState: called with every State, after the presenter's own listener.
        breathe: called while waiting, to let the window's events through.

    Raises:
        RegRefineError: there is no result, or a run is under way; the message says why.
    """
    if presenter.state.busy:
        raise RegRefineError("a run is under way; wait for its end, or stop it first")
    listener, published = presenter.onChanged, presenter.onPublished
    results: list[Run] = []

    def changed(state: State) -> None:
        listener(state)
        if onState is not None:
            onState(state)

    def shown(run: Run) -> None:
        results.append(run)
        published(run)

    presenter.onChanged, presenter.onPublished = changed, shown
    try:
        if not presenter.start(request):
            raise RegRefineError(presenter.state.message)
        _wait(presenter, breathe, None)
    finally:
        presenter.onChanged, presenter.onPublished = listener, published
        if presenter.state.busy:
            presenter.cancel()
            _wait(presenter, None, CANCEL_S)
    if not results:
        state = presenter.state
        raise RegRefineError("\n".join(filter(None, [state.message, state.details])))
    return results[-1]


def _wait(
    presenter: Presenter, breathe: Callable[[], object] | None, seconds: float | None
) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while presenter.state.busy and (end is None or time.monotonic() < end):
        presenter.poll()
        if breathe is not None:
            breathe()
        time.sleep(POLL_S)


def _known(what: str, given: Collection[str], known: Collection[str]) -> None:
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise RegRefineError(
            f"unknown {what} {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
