"""sequence(): a series goes in; fields, warped frames, labels and paths over time come out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import RegRefineError
from ..io.landmarks import read_landmarks
from ..io.result_folder import check_folder
from ..io.volumes import LabelMap, read_labels
from ..job import Job
from ..presets import resolve
from .outputs import WarpedSeries, Writer, write_paths, write_transform_sequence
from .series import Series, open_series
from .track import Options, Tracked, track

Say = Callable[[str], None]


@dataclass(frozen=True)
class Extras:
    """What lies on the reference frame and is carried through all: files, "" for none."""

    labels: str = ""
    landmarks: str = ""


def sequence(
    series: str | Path,
    folder: str | Path,
    job: Job | None = None,
    options: Options | None = None,
    extras: Extras | None = None,
    say: Say = lambda _: None,
) -> Tracked:
    """Follow a series from its reference frame and write what came of it.

    transforms/ and transforms.seq.nrrd, warped.nii and mean.nii.gz, jacobian/, quality.tsv, with
    labels labels/, with landmarks paths.tsv. Frames and fields are in memory one or two at a time.

    Raises:
        RegRefineError: the series, the labels, the landmarks or an option is not good.
    """
    options, extras, job = options or Options(), extras or Extras(), job or Job()
    folder = Path(folder)
    resolve(job)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder))
    try:
        found = open_series(series, scratch)
        labels = _labels(extras, found)
        points = read_landmarks(extras.landmarks) if extras.landmarks else None
        tracked = track(found, job, options, scratch, say)
        _write(found, tracked, options, folder, labels)
        write_transform_sequence(tracked, found, folder / "transforms.seq.nrrd")
        if points is not None:
            write_paths(list(points[0]), points[1], tracked, found, folder / "paths.tsv")
        if tracked.closure_mm is not None:
            mean, largest = tracked.closure_mm
            say(f"the cycle closed to {mean:.3f} mm on average, {largest:.3f} at most; spread")
        return tracked
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _labels(extras: Extras, series: Series) -> LabelMap | None:
    if not extras.labels:
        return None
    labels = read_labels(extras.labels)
    if labels.volume.geometry.overlap(series.geometry) == 0.0:
        raise RegRefineError(f"{extras.labels}: does not overlap the series in space")
    return labels


def _write(
    series: Series, tracked: Tracked, options: Options, folder: Path, labels: LabelMap | None
) -> None:
    writer = Writer(folder, series, series.frame(options.reference))
    warped = WarpedSeries(folder / "warped.nii", series)
    try:
        for number in range(len(series)):
            warped.add(writer.frame(number, tracked).array)
            if labels is not None:
                writer.labels(number, tracked, labels)
    finally:
        warped.close()
    writer.finish()
