"""Runs from scripts, on the scene's outputs (workflow/scripting.py)."""

from __future__ import annotations

from typing import Any

from RegRefineLib.job import Job

from ..mrml.output_nodes import DEFAULT_OUTPUTS, OUTPUTS
from ..workflow import scripting
from ..workflow.interfaces import Node, Request
from ..workflow.scripting import runBlocking

__all__ = ["requestFor", "runBlocking"]


def requestFor(fixed: Node, moving: Node, job: Job | str | None, **options: Any) -> Request:
    """Return what a script asks for, as workflow.scripting.requestFor does."""
    return scripting.requestFor(fixed, moving, job, OUTPUTS, DEFAULT_OUTPUTS, **options)
