"""A run's report: one HTML page for people, or the JSON with everything but the arrays."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError
from RegRefineLib.worker.job_folder import RESULT_FILE

from ..i18n import _
from .history import Run, summary, worseWords
from .metric_rows import columns, metricRows

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body>
<h1>{title}</h1>
<p>{pair}, {date}</p>
<p>{summary}</p>
{worse}
{warnings}
{picture}
<h2>Metrics</h2>
{metrics}
<h2>Settings</h2>
{settings}
<h2>Seconds</h2>
{seconds}
<h2>Made with</h2>
{versions}
</body></html>
"""


def saveReport(
    run: Run, path: Path, names: Mapping[int, str] | None = None, picture: bytes = b""
) -> None:
    """Write a run's report: JSON where the file's name ends in .json, else HTML.

    Args:
        names: the structures' names by label.
        picture: a PNG for the page (mrml/picture.py).

    Raises:
        RegRefineError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        text = json.dumps(run.record, indent=1, default=str) + "\n"
    else:
        text = page(run, names or {}, picture)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RegRefineError(
            f"report: {path} cannot be written ({error.strerror or error}); choose another place"
        ) from error


def page(run: Run, names: Mapping[int, str], picture: bytes = b"") -> str:
    """Return the report as an HTML page that needs no other file."""
    warnings = "".join(f"<li>{html.escape(each)}</li>" for each in run.warnings)
    job = {key: value for key, value in run.job.to_json().items() if value not in (None, {}, "")}
    versions = {**run.record.get("versions", {}), "device": run.device}
    return PAGE.format(
        title=html.escape(f"RegRefine, run {run.number}: {run.title}"),
        pair=html.escape(run.pair),
        date=_dateOf(run),
        worse=_worse(run),
        summary=html.escape(summary(run)) + (" (stopped early)" if run.stopped else ""),
        warnings=f"<h2>Warnings</h2><ul>{warnings}</ul>" if warnings else "",
        picture=_picture(picture),
        metrics=_metrics(run.record, names),
        settings=_table([], [[key, _cell(value)] for key, value in job.items()]),
        seconds=_table([], [[key, f"{value:.1f}"] for key, value in run.seconds.items()]),
        versions=_table([], [[key, str(value)] for key, value in versions.items()]),
    )


def _picture(png: bytes) -> str:
    if not png:
        return ""
    words = html.escape(_("Middle slices: fixed, moving, warped volume."))
    data = base64.b64encode(png).decode("ascii")
    return f"<p><img alt='{words}' src='data:image/png;base64,{data}'></p><p>{words}</p>"


def _worse(run: Run) -> str:
    words = worseWords(run)
    text = html.escape(_("Worse than the start: {names}.").format(names=words))
    return f"<p><b>{text}</b></p>" if words else ""


def _dateOf(run: Run) -> str:
    """Return when the result was written, in the reader's own time."""
    try:
        moment = (run.folder / RESULT_FILE).stat().st_mtime if run.folder else time.time()
    except OSError:
        moment = time.time()
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _metrics(record: Mapping[str, Any], names: Mapping[int, str]) -> str:
    head = [_("structure"), _("measure"), *columns(record).values(), _("change")]
    rows = [
        [row.structure, row.measure, *row.texts, row.verdict] for row in metricRows(record, names)
    ]
    return _table(head, rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["<table border='1' cellpadding='4' cellspacing='0'>"]
    if head:
        lines.append("<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>")
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])
