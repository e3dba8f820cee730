"""The method of a run as a paragraph for a paper."""

from __future__ import annotations

from collections.abc import Mapping

from ..job import Result
from ..refine.pyramid.settings import Pyramid
from ..registry import settings_class
from ..settings import read_settings

_AFFINE = {
    "none": "No linear alignment was made beforehand.",
    "centre": "The centres of mass of the images were brought onto each other.",
    "rigid": "The images were aligned rigidly by maximising their mutual information.",
    "affine": "The images were aligned affinely by maximising their mutual information.",
}
_INTENSITY = {
    "minmax": "scaled from their extremes to 0 and 1",
    "percentile": "scaled from the 0.5th and 99.5th percentiles to 0 and 1 and clipped",
    "mr": "scaled from their minimum and 99th percentile to 0 and 1 and clipped",
    "ct": "windowed from -1000 to 1000 HU",
    "ct-soft": "windowed from -500 to 800 HU",
    "none": "used as they are",
}


def paragraph(result: Result) -> str:
    """Return what was done, in sentences, with the settings that differ from the defaults."""
    job = result.job
    version = result.versions.get("RegRefineLib", "")
    affine = job.affine or "none"
    parts = [f"Images were registered with RegRefine {version} (preset {job.preset})."]
    parts.append(f"Intensities were {_INTENSITY.get(job.intensity or 'minmax', job.intensity)}.")
    if result.initial is not None:
        parts.append("A given transform was the start.")
    else:
        parts.append(_AFFINE[affine.rpartition("+")[2]])
        if affine.startswith("centre+"):
            parts.append("The search began from the centres of mass, not from the headers.")
    if job.start not in (None, "none", "initial"):
        parts.append(f"The field started from {job.start}{_changes(job.start_settings)}.")
    parts.append(_refinement(result))
    if job.working_spacing_mm:
        parts.append(f"The field was computed on voxels of {job.working_spacing_mm:.3g} mm.")
    parts.append(
        "Displacements are defined on the grid of the fixed image; a fixed point x corresponds to "
        "the moving point x + u(x)."
    )
    return " ".join(parts)


def _refinement(result: Result) -> str:
    job = result.job
    name = job.refinement or "none"
    if name == "none":
        return "The field was not refined."
    settings = read_settings(settings_class("refinement", name), job.settings)
    if isinstance(settings, Pyramid):
        levels = ", ".join(f"{n} steps at 1/{f:g} resolution" for f, n in settings.level_list())
        similarity = (
            f"squared local correlation in windows of {settings.window}^3 voxels"
            if settings.similarity == "ncc"
            else settings.similarity
        )
        if settings.similarity == "ncc" and settings.information > 0:
            similarity += f" and mutual information (weight {settings.information:g})"
        guides = [g for g in ("labels", "landmarks") if getattr(settings, g) > 0]
        guided = f", guided by {' and '.join(guides)}" if guides else ""
        symmetric = "symmetric " if settings.symmetric else ""
        return (
            f"A {symmetric}diffeomorphic displacement field was then found by a coarse-to-fine "
            f"descent (at most {levels}) on {similarity}{guided}. Each update was smoothed by a "
            f"Gaussian of {settings.force_sigma:g} voxels and the field by one of "
            f"{settings.field_sigma:g} voxels; {len(result.history)} steps were taken."
        )
    given = _changes(job.settings)
    return f"The field was refined by {name}{given}, {len(result.history)} steps."


def _changes(settings: Mapping[str, object]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in settings.items() if value != "")
    return f" ({given})" if given else ""
