"""The demo: a real labelled pair fetched, registered, measured, written and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..io.paths import PathLike
from ..io.result_folder import write_result
from ..io.volumes import LabelMap
from ..job import Extras, Job
from ..judgement import stages
from ..pair import Report, ignore
from ..plots import overview as pictures
from . import pairs
from .packages import Notify


class _Plan(NamedTuple):
    """How a sample is registered, and the intensities shown black and white."""

    job: Job
    window: tuple[float, float] | None = None


# the headers of scans of two people do not relate their positions
_CT = Job(preset="ct", affine="centre+affine", working_spacing_mm=2.0)
_PLANS: dict[str, _Plan] = {
    "chest": _Plan(_CT, (-700.0, 500.0)),
    "abdomen": _Plan(_CT.replaced(working_spacing_mm=0.0), (-250.0, 450.0)),
    "brain": _Plan(Job(affine="centre+affine", intensity="percentile", working_spacing_mm=1.5)),
}


@dataclass(frozen=True)
class Demo:
    """The result of a demo.

    Attributes:
        stages: metrics (metrics.report) before, after the affine part alone, and at the end.
        files: the paths of what was written, by role.
        seconds: wall time per stage of the registration.
        sources: where the scans come from, with their licences.
    """

    stages: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Path]
    seconds: Mapping[str, float]
    sources: tuple[str, ...]


def run(
    folder: PathLike,
    sample: str = "chest",
    *,
    device: str = "auto",
    report: Report = ignore,
    notify: Notify | None = None,
    progress: bool = False,
) -> Demo:
    """Register a sample and write into `folder`: the result's files, overview.png, history.png.

    Args:
        sample: a name of pairs.names().
        report: called at every step of the registration.
        notify: called with a sentence with the size before a download.
        progress: show a bar on standard error during a download.

    Raises:
        RegRefineError: unknown sample; no network and nothing cached; the folder cannot be written.
    """
    from ..registration import register

    pair = pairs.fetch(sample, notify=notify, progress=progress)
    plan = _PLANS[sample]
    extras = Extras(fixed_labels=pair.fixed_labels, moving_labels=pair.moving_labels)
    job = plan.job.replaced(device=device)
    result = register(pair.fixed, pair.moving, job, report, extras)
    folder = Path(folder)
    files = write_result(result, folder, LabelMap(pair.moving_labels, pair.label_names))
    shown = replace(
        pictures.of_result(result, pair.fixed, pair.moving, extras),
        label_names=pair.label_names,
        window=plan.window,
        title=f"RegRefine: {pairs.names()[sample]}",
    )
    files |= {"overview": folder / "overview.png", "history": folder / "history.png"}
    pictures.overview(shown, files["overview"])
    pictures.history(result.history, files["history"])
    return Demo(stages(result), files, result.seconds, pair.sources)
