"""Results of the default without one ingredient at a time, as one table in Markdown.

Differences, folds and ratios are over the pairs that the variant completed, against the default on
the same pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from .records import Record
from .summary import common, drawn

BASE = "default"
Runs = Mapping[str, Mapping[str, Record]]  # tool -> pair -> run


def table(records: Iterable[Record], names: Sequence[str]) -> str:
    """Return a row per variant of `names`, with the mean Dice of every set.

    In brackets the points of Dice more or less than the default; `difference` is their mean over
    the sets that the variant completed, if there are several. CPU seconds are means, their ratio
    the median over pairs.
    """
    runs: dict[str, dict[str, Record]] = {name: {} for name in (BASE, *names)}
    sets: dict[str, None] = {}
    for record in records:
        if record["tool"] in runs and record.get("dice") is not None:
            runs[record["tool"]][record["case"]] = record
            sets[record["set"]] = None
    head = ["ingredient", *sets, "difference", "folds % mean / most", "CPU s", "of the default's"]
    rows = [_row(name, runs, list(sets)) for name in runs if runs[name]]
    return "\n".join(drawn([head, *rows])) + "\n"


def _row(name: str, runs: Runs, sets: Sequence[str]) -> list[str]:
    ours, both = list(runs[name].values()), common(runs[name], runs[BASE])
    cells, gains = [], []
    for each in sets:
        dice = [r["dice"] for r in ours if r["set"] == each]
        pairs = [(a["dice"] - b["dice"]) for a, b in both if a["set"] == each]
        gain = 100 * statistics.mean(pairs) if pairs else None
        cells.append(_cell(dice, gain if name != BASE else None))
        gains += [gain] if gain is not None else []
    ratios = [a["cpu_s"] / b["cpu_s"] for a, b in both if a.get("cpu_s") and b.get("cpu_s")]
    folds = [r["folds_percent"] for r in ours if r.get("folds_percent") is not None]
    seconds = [r["cpu_s"] for r in ours if r.get("cpu_s")]
    return [
        name,
        *cells,
        f"{statistics.mean(gains):+.1f}" if gains and name != BASE and len(sets) > 1 else "-",
        f"{statistics.mean(folds):.4f} / {max(folds):.4f}" if folds else "-",
        f"{statistics.mean(seconds):.1f}" if seconds else "-",
        f"{statistics.median(ratios):.2f}" if ratios else "-",
    ]


def _cell(dice: Sequence[float], gain: float | None) -> str:
    """Return the mean, with the points more or less than the default where they are known."""
    if not dice:
        return "-"
    return f"{statistics.mean(dice):.3f}" + ("" if gain is None else f" ({gain:+.1f})")
