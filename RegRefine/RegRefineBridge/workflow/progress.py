"""From the worker's events to what the panel shows: stage, time left, live metrics, the curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..i18n import _
from .interfaces import State

# stage -> the part of the bar at which it begins and ends
SPANS = {
    "download": (0.0, 1.0),  # a bar of its own
    "prepare": (0.0, 0.05),
    "affine": (0.05, 0.2),
    "start": (0.2, 0.35),
    "refine": (0.35, 0.9),
    "finish": (0.9, 1.0),
}


def stageWords(stage: str) -> str:
    """Return a stage's name for people."""
    return {
        "download": _("Downloading"),
        "prepare": _("Preparing the images"),
        "affine": _("Aligning (linear)"),
        "start": _("Finding the start"),
        "refine": _("Refining"),
        "finish": _("Computing results and metrics"),
    }.get(stage, stage)


def followed(state: State, event: Mapping[str, Any]) -> State:
    """Return the state after an event of the worker (worker/server.py lists them)."""
    name = event.get("event")
    if name == "hello":
        return replace(state, stage=_("Loading PyTorch"))
    if name == "started":
        return replace(state, stage=stageWords("prepare"))
    if name == "warning":
        return replace(state, warnings=(*state.warnings, str(event.get("message", ""))))
    if name != "progress":
        return state
    return _progressed(state, event)


def _progressed(state: State, event: Mapping[str, Any]) -> State:
    stage, step, steps = event["stage"], int(event["step"]), int(event["steps"])
    words = stageWords(stage)
    if stage == "download":
        words += " " + _("{name} ({done} of {whole} MB)").format(
            name=event.get("message", ""), done=step, whole=steps
        )
    elif steps > 1:
        words += " " + _("({step} of {steps})").format(step=step + 1, steps=steps)
    elif event.get("message"):
        words += f": {event['message']}"
    losses, dices = state.losses, state.dices
    loss = event["loss"].get("total")
    live = {**state.live, **event["metrics"]}
    if loss is not None:
        live["loss"] = float(loss)
    if stage == "refine" and loss is not None:
        losses = (*losses, float(loss))
        if "dice" in live:
            dices = (*dices, float(live["dice"]))
    return replace(
        state,
        stage=words if state.phase == "running" else state.stage,
        fraction=max(0.0 if stage == "prepare" else state.fraction, _fraction(stage, step, steps)),
        secondsLeft=event.get("eta_s"),
        live=live,
        losses=losses,
        dices=dices,
    )


def _fraction(stage: str, step: int, steps: int) -> float:
    begin, end = SPANS.get(stage, (0.0, 0.0))
    done = (step + 1) / steps if steps else 0.0
    return begin + (end - begin) * min(done, 1.0)


def timeWords(seconds: float) -> str:
    """Return a time for people: 8 s, 3 min 20 s, 1 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 100:
        return _("{seconds} s").format(seconds=whole)
    if whole < 3600:
        return _("{minutes} min {seconds} s").format(minutes=whole // 60, seconds=whole % 60)
    return _("{hours} h {minutes} min").format(hours=whole // 3600, minutes=whole % 3600 // 60)
