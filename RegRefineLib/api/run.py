"""register() for scripts and notebooks: images of any kind go in, a Registration comes out."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import RegRefineError, unknown
from ..geometry import Volume
from ..interrupts import stoppable
from ..io.label_pairs import paired
from ..io.notices import collected
from ..io.result_folder import say_ending
from ..io.volumes import LabelMap, read_masked
from ..job import Extras, Job, Progress, Result
from ..provenance import described
from .convert import Image, image_of, labels_of, mapping_of, points_of
from .result import Registration

# torch's random state and numbers of threads are the process's: one registration at a time
_ONE_AT_A_TIME = threading.Lock()
EXTRAS = tuple(f.name for f in fields(Extras))
JOB = tuple(f.name for f in fields(Job))


@dataclass(frozen=True, eq=False)
class Inputs:
    """What `register` was given, read and checked for its kind."""

    fixed: Volume
    moving: Volume
    extras: Extras
    label_map: LabelMap | None
    doubts: tuple[str, ...] = ()  # what the files' readers said


def register(
    fixed: Any,
    moving: Any,
    preset: str | Job = "default",
    *,
    threads: int | None = None,
    progress: bool | Callable[[Progress], None] = False,
    **options: Any,
) -> Registration:
    """Register the moving image to the fixed one.

    Args:
        fixed, moving: a path, a Volume, a SimpleITK, nibabel, ITK or ANTs image, or
            (array (k, j, i), 4x4 affine from (i, j, k) to RAS mm).
        preset: a name of `presets()`, or a Job, which says everything.
        threads: of torch and ITK during this run; None: what the process may use.
        progress: True for a bar (a notebook's own in a notebook), or a function that gets a
            Progress at every step and may raise Stopped (keep the best) or Cancelled.
        **options: any field of Job (affine, start, refinement, intensity, working_spacing_mm,
            settings, start_settings, device, seed, inverse, jacobian), and what comes with the
            images: fixed_labels, moving_labels, fixed_mask, moving_mask (of the kinds of image),
            initial (a path, a SimpleITK transform, a 4x4 in RAS mm, a field or a result),
            fixed_landmarks, moving_landmarks (paths, or arrays (n, 3) of RAS mm). Any other name
            is a setting of the refinement (see `settings()`).

    Returns:
        A Registration. The fixed point x (RAS mm) lies at the moving point x + u(x).

    Ctrl-C ends the run with the best field so far; a second one drops it. Several threads may call
    this at once; their registrations are done one after the other.

    Raises:
        RegRefineError: what was given cannot be registered so; a sentence says why.
    """
    job, given = job_and_extras(preset, options)
    inputs = read_inputs(fixed, moving, given)
    from ..registration import register as run

    with _ONE_AT_A_TIME, _threads(threads), _reporting(progress) as report:
        raw = run(inputs.fixed, inputs.moving, job, report, inputs.extras)
    sources = {"fixed": fixed, "moving": moving, **given}
    raw = with_inputs(raw, inputs, sources)
    return Registration(raw, inputs.fixed, inputs.moving, inputs.extras, inputs.label_map)


def with_inputs(raw: Result, inputs: Inputs, sources: Mapping[str, Any]) -> Result:
    """Return the result with where its inputs came from in its provenance.

    Args:
        sources: what the user named, by role.
    """
    read = {"fixed": inputs.fixed, "moving": inputs.moving}
    read |= {name: getattr(inputs.extras, name) for name in EXTRAS}
    entries = {
        name: described(value, sources.get(name))
        for name, value in read.items()
        if value is not None
    }
    provenance = {**raw.provenance, "inputs": entries}
    return replace(raw, provenance=provenance, warnings=[*inputs.doubts, *raw.warnings])


def job_and_extras(preset: str | Job, options: Mapping[str, Any]) -> tuple[Job, dict[str, Any]]:
    """Return the job, and what of the options comes with the images.

    Raises:
        RegRefineError: an option that is neither a field of Job, nor comes with images, nor is a
            setting of the refinement.
    """
    from ..presets import resolve
    from ..registry import settings_class
    from ..settings import described

    job = preset if isinstance(preset, Job) else Job(preset=preset)
    stated = {name: options[name] for name in JOB if name in options}
    job = job.replaced(**stated)
    given = {name: options[name] for name in EXTRAS if name in options}
    others = {k: v for k, v in options.items() if k not in JOB and k not in EXTRAS}
    if others:
        kind = settings_class("refinement", resolve(job).refinement or "none")
        known = [each.name for each in described(kind)]
        for name in others:
            if name not in known:
                raise unknown("option", name, [*JOB, *EXTRAS, "threads", "progress", *known])
        job = job.replaced(settings={**job.settings, **others})
    return job, given


def read_inputs(fixed: Any, moving: Any, given: Mapping[str, Any]) -> Inputs:
    """Return images and what comes with them as RegRefine's own kinds.

    Raises:
        RegRefineError: a wrong kind, a file that cannot be read, or one of a pair is missing.
    """
    for what in ("labels", "landmarks"):
        names = (f"fixed_{what}", f"moving_{what}")
        there = [name for name in names if given.get(name) is not None]
        if len(there) == 1:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
            raise RegRefineError(
                f"{what}: give both {names[0]} and {names[1]}, or neither ({options})"
            )
    with collected() as doubts:
        inputs = _read(fixed, moving, given)
        say_ending(inputs.fixed.geometry)
    return replace(inputs, doubts=tuple(doubts))


def _image_and_holes(value: Any, name: str) -> tuple[Image, Volume | None]:
    """Return an image and, of a file with NaN, the mask of its other voxels."""
    if not isinstance(value, (str, os.PathLike)):
        return image_of(value, name), None
    volume, inside = read_masked(value)
    return image_of(volume), inside


def _read(fixed: Any, moving: Any, given: Mapping[str, Any]) -> Inputs:
    sides = {"fixed": fixed, "moving": moving}
    read = {side: _image_and_holes(value, side) for side, value in sides.items()}
    images = read["fixed"][0], read["moving"][0]
    found: dict[str, Any] = {
        f"{side}_mask": inside for side, (_, inside) in read.items() if inside is not None
    }
    maps: dict[str, LabelMap] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name.endswith(("labels", "mask")):
            maps[name] = labels_of(value, name)
            found[name] = maps[name].volume
        elif name == "initial":
            found[name] = mapping_of(value, name, *(each.geometry for each in images))
        else:
            found[name] = points_of(value, name)
    if len(maps.keys() & {"fixed_labels", "moving_labels"}) == 2:
        maps["moving_labels"] = paired(maps["fixed_labels"], maps["moving_labels"])
        found["moving_labels"] = maps["moving_labels"].volume
    pair = [found.get(f"{side}_landmarks") for side in ("fixed", "moving")]
    if pair[0] is not None and pair[1] is not None and len(pair[0]) != len(pair[1]):
        raise RegRefineError(
            f"landmarks: {len(pair[0])} fixed and {len(pair[1])} moving points; they must "
            "correspond one to one"
        )
    return Inputs(*images, Extras(**found), maps.get("moving_labels"))


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Use so many threads in the block; the numbers of before return after it."""
    if count is None:
        yield
        return
    import SimpleITK as sitk
    import torch

    from ..threads import use

    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    use(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


@contextmanager
def _reporting(progress: bool | Callable[[Progress], None]) -> Iterator[Callable[..., None]]:
    """Give the report callback: the user's function, a bar, or nothing; Ctrl-C stops the run."""
    bar = None
    if callable(progress):
        report: Callable[[Progress], None] = progress
    elif progress:
        from ..progress_bar import Bar

        report = bar = Bar()
    else:
        report = _warn
    try:
        with stoppable(report, _say) as stopping:
            yield stopping
    finally:
        if bar is not None:
            bar.close()


def _say(words: str) -> None:
    sys.stderr.write(f"\n{words}\n")


def _warn(_: Progress) -> None:
    """Say nothing: warnings are in the result."""
