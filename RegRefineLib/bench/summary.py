"""Results as a table in Markdown: per set a row per tool, and ratios to the best peer.

The best peer is the one with the highest mean Dice among those that completed the most pairs of the
set. Differences and ratios to it are over the pairs that both completed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from .records import Record
from .sweep import START
from .tools import TOOLS

HEAD = (
    "tool",
    "pairs",
    "Dice mean / median",
    "vs best peer",
    "HD95 mm",
    "TRE mm",
    "folds % mean / most",
    "SD ln det J whole / body",
    "det < 0.1 % mean / most",
    "det > 3 %",
    "bending 1/mm^2",
    "SD log(det J + 3)",
    "CPU s",
    "at work",
    "ratio to best peer",
    "wall s",
    "peak MB",
)
SQUEEZED = "det_below_0.1_percent"
Runs = Mapping[str, Mapping[str, Record]]  # tool -> pair -> run


def tables(records: Iterable[Record]) -> str:
    """Return a table per set, in the order in which the sets first appear."""
    by_set: dict[str, dict[str, dict[str, Record]]] = {}
    for record in records:
        by_set.setdefault(record["set"], {}).setdefault(record["tool"], {})[record["case"]] = record
    return "\n\n".join(_table(name, runs) for name, runs in by_set.items()) + "\n"


def best_peer(runs: Runs) -> str | None:
    """Return the name of the best peer of a set, None where no peer ran."""
    done = {
        tool: [r["dice"] for r in _good(cases) if r.get("dice") is not None]
        for tool, cases in runs.items()
        if tool in TOOLS and TOOLS[tool].is_peer
    }
    most = max((len(values) for values in done.values()), default=0)
    full = {tool: values for tool, values in done.items() if values and len(values) == most}
    return max(full, key=lambda tool: statistics.mean(full[tool])) if full else None


def _table(name: str, runs: Runs) -> str:
    peer = best_peer(runs)
    threads = sorted({r["threads"] for cases in runs.values() for r in cases.values()})
    counted = ", ".join(map(str, threads))
    title = f"**{name}**, {counted} thread{'s' if counted != '1' else ''}"
    rows = [_row(tool, runs, peer) for tool in _ordered(runs)]
    failures = [
        f"{tool} failed on {record['case']}: {record['error']}"
        for tool, cases in runs.items()
        for record in cases.values()
        if "error" in record
    ]
    lines = [title, "", *drawn([HEAD, *rows])]
    return "\n".join([*lines, *([""] if failures else []), *failures])


def drawn(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows in Markdown, the first one as the head, without columns of dashes alone."""
    head, *rest = rows
    kept = [c for c in range(len(head)) if any(row[c] != "-" for row in rest)]
    lines = [f"| {' | '.join(row[c] for c in kept)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(kept), *lines[1:]]


def _ordered(runs: Runs) -> list[str]:
    """Return the tools: the start first, then by their mean Dice, best first."""

    def place(tool: str) -> tuple[bool, float]:
        return tool != START, -(_over(_good(runs[tool]), "dice", statistics.mean) or 0.0)

    return sorted(runs, key=place)


def _row(tool: str, runs: Runs, peer: str | None) -> list[str]:
    good = _good(runs[tool])
    both = common(runs[tool], runs[peer]) if peer else []
    gains = [a["dice"] - b["dice"] for a, b in both if None not in (a.get("dice"), b.get("dice"))]
    ratios = [a["cpu_s"] / b["cpu_s"] for a, b in both if a.get("cpu_s") and b.get("cpu_s")]
    gain = f"{100 * statistics.mean(gains):+.1f}" if gains else "-"
    ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"

    def mean(name: str, digits: int) -> str:
        return _text(_over(good, name, statistics.mean), digits)

    def median(name: str, digits: int) -> str:
        return _text(_over(good, name, statistics.median), digits)

    most = _text(_over(good, "folds_percent", max), 4)
    marked = f"{tool} (best peer)" if tool == peer else tool
    return [
        marked,
        f"{len(good)}",
        f"{mean('dice', 3)} / {median('dice', 3)}",
        gain,
        mean("hd95_mm", 2),
        mean("tre_mm", 2),
        f"{mean('folds_percent', 4)} / {most}",
        _both(mean("sd_log_jacobian", 3), mean("sd_log_jacobian_inside", 3)),
        _both(mean(SQUEEZED, 3), _text(_over(good, SQUEEZED, max), 3)),
        mean("det_above_3_percent", 3),
        mean("bending_energy", 5),
        mean("sdlogj", 3),
        median("cpu_s", 1),
        median("work_cpu_s", 1),
        ratio,
        median("wall_s", 1),
        median("peak_mb", 0),
    ]


def common(ours: Mapping[str, Record], theirs: Mapping[str, Record]) -> list[tuple[Record, Record]]:
    """Return the runs of both on the pairs that both completed."""
    return [
        (ours[case], other)
        for case, other in theirs.items()
        if case in ours and "error" not in ours[case] and "error" not in other
    ]


def _good(cases: Mapping[str, Record]) -> list[Record]:
    return [record for record in cases.values() if "error" not in record]


def _over(records: Sequence[Record], name: str, of) -> float | None:  # type: ignore[no-untyped-def]
    values = [r[name] for r in records if r.get(name) is not None]
    return of(values) if values else None


def _both(first: str, second: str) -> str:
    """Return two metrics, or a dash if a run of an earlier version has neither."""
    return "-" if first == second == "-" else f"{first} / {second}"


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
