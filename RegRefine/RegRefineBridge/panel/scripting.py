"""Runs from scripts: one call that returns when the result is in the scene, or tells on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job

from ..mrml.output_nodes import DEFAULT_OUTPUTS
from ..workflow.history import Run
from ..workflow.interfaces import Inputs, Node, Request, State
from ..workflow.presenter import Presenter

POLL_S = 0.02


def requestFor(fixed: Node, moving: Node, job: Job | str | None, **options: Any) -> Request:
    """Return what a script asks for.

    Args:
        job: a Job, the name of a preset, or None for the default one.
        options: other Inputs by name (fixedSegmentation=...); wanted, chosen and download as in
            Request.

    Raises:
        ValueError: an option of another name.
    """
    job = Job(preset=job) if isinstance(job, str) else job or Job()
    names = {each.name for each in fields(Inputs)} - {"fixed", "moving"}
    nodes = {name: options.pop(name) for name in names & set(options)}
    wanted = tuple(options.pop("wanted", DEFAULT_OUTPUTS))
    chosen = options.pop("chosen", {})
    download = bool(options.pop("download", False))
    if options:
        known = ", ".join(sorted({*names, "wanted", "chosen", "download"}))
        raise ValueError(f"unknown option {', '.join(options)}; known are {known}")
    if "inverse" in wanted or "jacobian" in wanted:
        job = job.replaced(
            inverse=job.inverse or "inverse" in wanted,
            jacobian=job.jacobian or "jacobian" in wanted,
        )
    return Request(Inputs(fixed, moving, **nodes), job, wanted, chosen, job.preset, download)


def runBlocking(
    presenter: Presenter, request: Request, onState: Callable[[State], None] | None = None
) -> Run:
    """Run and return when the result is in the scene; `onState` hears of every step.

    Raises:
        RegRefineError: there is no result; the message says why.
    """
    presenter.onChanged = onState or (lambda state: None)
    before = presenter.state.current
    if not presenter.start(request):
        raise RegRefineError(presenter.state.message)
    while presenter.state.busy:
        presenter.poll()
        time.sleep(POLL_S)
    run = presenter.shown()
    if run is None or run.number == before:
        state = presenter.state
        raise RegRefineError("\n".join(filter(None, [state.message, state.details])))
    return run
