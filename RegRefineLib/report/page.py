"""report.html: a result as one self-contained page, for people to look at, keep and send."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from ..geometry import FloatArray, Volume, transformed
from ..io.paths import written_aside
from ..job import Extras, Result
from ..judgement import METRICS, single_value, stages, verdict, worse
from ..metrics import landmarks
from ..plots.slices import planes, telling_voxel
from ..resample import resample
from . import pictures
from .method import paragraph
from .residual import Place, worst_places

TEMPLATE = Path(__file__).with_name("page.html")


def write_report(
    result: Result,
    fixed: Volume,
    moving: Volume,
    extras: Extras,
    path: str | os.PathLike[str],
) -> Path:
    """Write the report of a result and return its path.

    The page asks for nothing outside itself; its script only moves the sliders.

    Args:
        fixed, moving, extras: what was registered.

    Raises:
        RegRefineError: the file cannot be written.
    """
    content = rendered(result, fixed, moving, extras)
    with written_aside(path) as aside:
        aside.write_text(content, encoding="utf-8")
    return Path(path)


def rendered(result: Result, fixed: Volume, moving: Volume, extras: Extras) -> str:
    """Return the page's HTML."""
    start = result.affine if extras.initial is None else extras.initial
    outside = float(moving.array.min())
    before = resample(moving, fixed.geometry, start, outside=outside)
    images = pictures.Images(fixed, before, result.warped, extras.fixed_labels)
    places = worst_places(fixed, result.warped)
    middle = telling_voxel(fixed, extras.fixed_labels)
    first = pictures.cuts(planes(fixed.geometry, middle), images, result)
    sections = [("Through the middle", "", first)]
    if places:
        cut = pictures.cuts(planes(fixed.geometry, places[0].voxel), images, result)
        sections.append(("Through the place that agrees least", _where(places[0]), cut))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        result=result,
        sections=sections,
        places=[_where(place) for place in places],
        table=metric_rows(stages(result)),
        structures=structure_rows(stages(result)),
        stage_names=list(stages(result)),
        lines="label contours" if extras.fixed_labels is not None else "edges",
        verdict=_verdict(result),
        histogram=pictures.jacobian_histogram(result),
        curve=pictures.curve(result.history),
        landmarks=_landmarks(result, extras),
        method=paragraph(result),
        provenance=result.provenance,
        job={k: v for k, v in result.job.to_json().items() if v not in (None, {}, "")},
        total=sum(result.seconds.values()),
    )


def metric_rows(measured: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str], str]]:
    """Return (title, a cell for each stage, verdict) for every metric that is there."""
    rows = []
    for name, metric in METRICS.items():
        values = [single_value(found.get(name)) for found in measured.values()]
        if any(value is not None for value in values):
            cells = ["-" if v is None else f"{v:.{metric.digits}f}" for v in values]
            title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
            rows.append((title, cells, verdict(name, *values[-2:])))
    return rows


def structure_rows(
    measured: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[str], list[str], str]]:
    """Return (label, Dice of each stage, HD95 of each stage, verdict of Dice) per structure."""
    last = list(measured.values())[-1].get("dice") or {}
    rows = []
    for label in (key for key in last if key != "mean"):
        values = {
            name: [(found.get(name) or {}).get(label) for found in measured.values()]
            for name in ("dice", "hd95_mm")
        }
        cells = {
            name: ["-" if v is None else f"{v:.{METRICS[name].digits}f}" for v in found]
            for name, found in values.items()
        }
        mark = verdict("dice", *values["dice"][-2:])
        rows.append((str(label), cells["dice"], cells["hd95_mm"], mark))
    return rows


def _where(place: Place) -> str:
    r, a, s = (float(v) for v in place.ras_mm)
    sides = (("R", "L"), ("A", "P"), ("S", "I"))
    words = " ".join(
        f"{pair[0] if value >= 0 else pair[1]} {abs(value):.0f}"
        for pair, value in zip(sides, (r, a, s), strict=True)
    )
    return f"{words} mm (local correlation {place.correlation:.2f})"


def _verdict(result: Result) -> str:
    """Return in a sentence whether the result is better or worse than its start."""
    measured = list(stages(result).values())
    name = "the initial transform" if result.initial is not None else "the linear alignment"
    if result.initial is None and result.job.affine in (None, "none"):
        name = "the images as they came"
    bad = worse(measured[-2], measured[-1])
    if bad:
        titles = ", ".join(METRICS[each].title for each in bad)
        return f"Worse than {name} by {titles}."
    better = [
        METRICS[each].title
        for each in ("dice", "tre_mm", "ncc")
        if verdict(each, *(single_value(m.get(each)) for m in measured[-2:])) == "better"
    ]
    sentence = f"Better than {name} by {', '.join(better)}" if better else f"As good as {name}"
    others = [
        METRICS[each].title
        for each in ("hd95_mm", "assd_mm", "folds_percent")
        if verdict(each, *(single_value(m.get(each)) for m in measured[-2:])) == "WORSE"
    ]
    return f"{sentence}; worse by {', '.join(others)}." if others else f"{sentence}."


def _landmarks(result: Result, extras: Extras) -> dict[str, Any] | None:
    if extras.fixed_landmarks is None or extras.moving_landmarks is None:
        return None
    fixed: FloatArray = np.asarray(extras.fixed_landmarks)
    moving: FloatArray = np.asarray(extras.moving_landmarks)
    start = transformed(result.affine, fixed)
    before = np.linalg.norm(start - moving, axis=1)
    after = np.asarray(landmarks.errors(fixed, moving, result.field))
    order = np.argsort(-after)[:10]
    return {
        "chart": pictures.landmark_chart(before, after),
        "worst": [(int(n) + 1, f"{before[n]:.2f}", f"{after[n]:.2f}") for n in order],
        "count": len(after),
    }
