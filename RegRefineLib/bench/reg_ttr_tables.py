"""The tables of Reg-TTR's paper as cases and tools: a cohort's test split, before and after TTR.

Pairs and preparation are bench/cohorts.py's. Each start has a row without refinement, and rows for
the released Reg-TTR with 2, 4 ... 18 steps, with and without SSIM (Tables, Figures 1, 3, 4 of arXiv
2601.19114). Starts are those that need no weights, and the networks whose weights are on this
machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..geometry import Volume
from .cases import Case

STEPS = tuple(range(2, 19, 2))
# the cohort's name -> the learning rate that the paper gives for it; others: RATE
RATES = {"acdc": 0.025}
RATE = 0.1
DATASETS = {
    "acdc": "acdc",
    "lpba40": "lpba40",
    "mindboggle": "mindboggle101",
    "abdomenctct": "abdomenctct",
}


@dataclass(frozen=True)
class CohortCase(Case):
    """A pair of a cohort, prepared as its published programs do it: images in 0..1."""

    cohort: str = ""

    def images(self) -> tuple[Volume, Volume]:
        """Return the fixed and the moving image."""
        fixed, moving = self._prepared(0)
        return fixed, moving

    def label_maps(self) -> tuple[Volume, Volume]:
        """Return both label maps."""
        fixed, moving = self._prepared(1)
        return fixed, moving

    def _prepared(self, part: int) -> list[Volume]:
        from .cohorts import TEST, Subject, prepared

        both = ((self.fixed, self.fixed_labels), (self.moving, self.moving_labels))
        return [prepared(self.cohort, Subject(*paths, TEST))[part] for paths in both]


def cohort_cases(cohort: str, root: Path) -> list[Case]:
    """Return the pairs of the cohort's test split under `root`.

    Raises:
        RegRefineError: the folder does not hold the cohort.
    """
    from .cohorts import TEST, pairs

    return [
        CohortCase(
            cohort,
            f"{cohort} {_stem(pair.fixed)}<-{_stem(pair.moving)}",
            pair.fixed,
            pair.moving,
            pair.fixed_labels,
            pair.moving_labels,
            intensity="none",
            cohort=cohort,
        )
        for pair in pairs(cohort, root)
        if pair.split == TEST
    ]


def backbones() -> dict[str, dict[str, Any]]:
    """Return the fields of Job for each start that is available here, by name."""
    from ..weights.catalogue import catalogue, local_file

    found: dict[str, dict[str, Any]] = {
        "none": {"start": "none"},
        "convexadam": {"start": "convexadam"},
    }
    for name, model in catalogue().items():
        if local_file(model) is not None:
            found[name] = {"start": "network", "start_settings": {"weights": name}}
    return found


def variants(cohort: str) -> dict[str, dict[str, Any]]:
    """Return the rows of tools by name, as in a JSON of cases: before and after Reg-TTR."""
    rows: dict[str, dict[str, Any]] = {}
    for name, start in backbones().items():
        before = {**start, "refinement": "none"}
        rows[f"{name} before"] = {"tool": "released", "settings": {"job": before}}
        for kind, weights in (("", {}), (" without SSIM", {"ssim_weight": 0.0})):
            for steps in STEPS:
                settings = {
                    "steps": steps,
                    "learning_rate": RATES.get(cohort, RATE),
                    **weights,
                }
                rows[f"{name} n={steps}{kind}"] = {
                    "tool": "released",
                    "settings": {"job": {**start, "settings": settings}},
                }
    return rows


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0]
