"""The plan of a run, made before its first stage: settings, weights, device, memory.

Everything that can be rejected is rejected here, before any stage has reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from . import registry
from .errors import RegRefineError
from .geometry import DisplacementField, Geometry, Volume
from .inference.load import split, wanted
from .intensity import choose_intensity, has_outliers
from .job import Extras, Job, Setting
from .memory import choose_device, free_bytes, is_out_of_memory
from .memory_model import bytes_per_voxel
from .prepare import check_image, check_matrix, check_overlap, working_grid
from .presets import resolve
from .resample import coarser
from .settings import Conditions, NamedNetwork, Settings, read_settings
from .weights.load import Loaded

_SMALLEST_VOXELS = 32**3
# the share of the free memory that a run may take
_SHARE = 0.7


class Plan(NamedTuple):
    """The plan of a run.

    Attributes:
        job: every field filled, on a real device, on a working grid that fits into the memory.
        warnings: sentences about what was changed or looks wrong.
        networks: the loaded networks of the start and the refinement, under the keys "start" and
            "refinement".
    """

    job: Job
    warnings: tuple[str, ...]
    networks: Mapping[str, Loaded]


class _Method(NamedTuple):
    """The start or the refinement of a job: its settings as given, as read, and its network."""

    name: str
    given: Mapping[str, Setting]
    settings: Settings
    network: Loaded | None


def plan(fixed: Volume, moving: Volume, job: Job, extras: Extras) -> Plan:
    """Return the job as it will run, with warnings and the networks that it names.

    Args:
        extras: labels and masks on the grids of their images (prepare.on_image_grids).

    Raises:
        RegRefineError: the images cannot be registered; a setting, network option or name is
            unknown or out of its range; weights, a package or the device are missing; settings need
            labels, landmarks or a transform that were not given.
    """
    chosen, job = job.intensity, resolve(job)
    kinds = {
        "start": registry.settings_class("start", job.start or "none"),
        "refinement": registry.settings_class("refinement", job.refinement or "none"),
    }
    for kind, given in ((kinds["start"], job.start_settings), (kinds["refinement"], job.settings)):
        read_settings(kind, given)  # cheap checks first, before anything is loaded
    device, unused = choose_device(job.device)
    job = job.replaced(device=device)
    check_image(fixed, "fixed image")
    check_image(moving, "moving image")
    warnings = [unused] if unused else []
    warnings += _check_position(fixed.geometry, moving.geometry, job, extras)
    methods = {
        "start": _method("start", job.start or "none", kinds["start"], job.start_settings),
        "refinement": _method(
            "refinement", job.refinement or "none", kinds["refinement"], job.settings
        ),
    }
    job, doubts = _as_trained(job, chosen, (fixed, moving), list(methods.values()))
    if chosen is None and job.intensity == "minmax" and job.refinement == "pyramid":
        few = [name for name, each in (("fixed", fixed), ("moving", moving)) if has_outliers(each)]
        if few:
            job = job.replaced(intensity="percentile")
            doubts.append(
                f"{' and '.join(few)} image: a few voxels take more than nine tenths of the range "
                "of intensities; percentiles of it are used (intensity percentile)"
            )
    job, shortage = fit_into_memory(job, fixed.geometry)
    conditions = Conditions(
        working_grid(fixed.geometry, job.working_spacing_mm or 0.0).shape,
        labels=extras.fixed_labels is not None and extras.moving_labels is not None,
        landmarks=extras.fixed_landmarks is not None and extras.moving_landmarks is not None,
        common_labels=partial(_share_a_label, extras),
    )
    for method in methods.values():
        method.settings.check(conditions)
    sentences = (*warnings, *doubts, *([shortage] if shortage else []))
    networks = {name: m.network for name, m in methods.items() if m.network is not None}
    return Plan(job, sentences, networks)


def _method(
    kind: str, name: str, settings: type[Settings], given: Mapping[str, Setting]
) -> _Method:
    """Return a method of the job with its settings read and its network loaded."""
    network = None
    if issubclass(settings, NamedNetwork):
        options: Settings
        options, network = split(settings, given, f"{kind} {name}")
    else:
        options = read_settings(settings, given)
    options.check_packages(f"{kind} {name}")
    return _Method(name, given, options, network)


def _check_position(fixed: Geometry, moving: Geometry, job: Job, extras: Extras) -> list[str]:
    """Check the initial transform or, without one, that the images overlap in space."""
    kind, given = job.affine or "none", extras.initial
    if given is None:
        if job.start == "initial":
            raise RegRefineError("start initial: give a transform with --init")
        if not kind.startswith("centre"):
            check_overlap(fixed, moving, np.eye(4))
        return []
    if not isinstance(given, DisplacementField):
        check_overlap(fixed, moving, check_matrix(given))
    if kind == "none":
        return []
    return [f"an initial transform was given, so no {kind} alignment is searched for"]


def _as_trained(
    job: Job, chosen: str | None, images: tuple[Volume, Volume], methods: list[_Method]
) -> tuple[Job, list[str]]:
    """Return the job with the intensity range that its network was trained with, if known.

    A range that the user chose is kept; if it differs, there is a warning.
    """
    doubts: list[str] = []
    for method in methods:
        model = None if method.network is None else wanted(method.given)
        if model is None:
            continue
        if chosen is None:
            intensity = choose_intensity(model.intensity, *images)
            return job.replaced(intensity=intensity), doubts
        if chosen not in model.intensity:
            ranges = " or ".join(model.intensity)
            doubts.append(f"intensity {chosen}: the network was trained with {ranges}")
    return job, doubts


def _share_a_label(extras: Extras) -> bool:
    """Return whether both segmentations, where given, have a label above 0 in common."""
    maps = [m for m in (extras.fixed_labels, extras.moving_labels) if m is not None]
    first, *others = (np.unique(each.array) for each in maps)
    return all(bool((np.intersect1d(first, other) > 0).any()) for other in others)


def fit_into_memory(job: Job, fixed: Geometry) -> tuple[Job, str]:
    """Return the job on the finest working grid that fits into the free memory, and the reason.

    The reason is empty if the job is unchanged: because it fits, because it sets its own working
    spacing, or because the needed or the free memory is not known. On a CPU this is the only
    safeguard: a system that runs out of memory kills the process.
    """
    needed, free = bytes_per_voxel(job), free_bytes(job.device)
    if job.working_spacing_mm or needed is None or free is None:
        return job, ""
    room = _SHARE * free / needed
    if fixed.voxel_count <= room:
        return job, ""
    spacing = float(fixed.spacing.min())
    while coarser(fixed, spacing).voxel_count > max(room, _SMALLEST_VOXELS):
        spacing *= 1.05
    sentence = (
        f"{needed * fixed.voxel_count / 2**30:.1f} GB of memory are needed at full resolution and "
        f"{free / 2**30:.1f} GB are free on {job.device}; working on {spacing:.3g} mm voxels"
    )
    return job.replaced(working_spacing_mm=spacing), sentence


def smaller_job(job: Job, asked: Job, fixed: Geometry, error: Exception) -> tuple[Job, str]:
    """Return the job to try after memory ran out, and a sentence on what changed.

    Half the working resolution first, then the CPU at the resolution originally `asked` for.

    Raises:
        Exception: `error` itself, where it is not about memory.
        RegRefineError: nothing is left to try.
    """
    if not is_out_of_memory(error):
        raise error
    spacing = max(job.working_spacing_mm or 0.0, float(fixed.spacing.min()))
    halved = spacing * 2
    if fixed.voxel_count * (float(fixed.spacing.min()) / halved) ** 3 >= _SMALLEST_VOXELS:
        changed = job.replaced(working_spacing_mm=halved)
        return changed, f"memory ran out on {job.device}; trying {halved:g} mm voxels"
    if job.device != "cpu":
        changed = job.replaced(device="cpu", working_spacing_mm=asked.working_spacing_mm)
        return changed, f"memory ran out on {job.device}; going on with the CPU"
    raise RegRefineError(
        "memory ran out even at low resolution; close other programs or crop the images"
    ) from error
