"""What is made of a finished cohort: volume maps on a template, a target's labels from atlases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import DisplacementField, Volume
from ..io.transforms import read_transform
from ..io.volumes import read_labels, read_volume, write_labels, write_volume
from ..resample import resample
from .execute import RUNS
from .fusion import Fused, fuse
from .jacobian_maps import MapRow, blurred, log_jacobian, without_mean, write_map, write_table
from .manifest import Scan
from .runs import Run
from .shape_update import Mapping
from .template import Built

_MASK_SHARE = 0.1  # of the template's 99th percentile: what is above is body


def write_maps(built: Built, scans: Sequence[Scan], folder: Path, fwhm_mm: float) -> Path:
    """Write every scan's log-Jacobian maps, absolute and relative, and return maps.tsv's path.

    maps/ID_{absolute,relative}.nii.gz lie on the template's grid, mask.nii.gz says where it shows
    body; volume_maps/maps.tsv names them for statistics packages.
    """
    place, template = folder / "volume_maps", built.template
    level = _MASK_SHARE * float(np.percentile(template.array, 99))
    mask = template.array > level
    rows = []
    for scan in scans:
        if scan.id not in built.scans:
            continue
        stem = folder / "maps" / f"from-{scan.id}_to-template"
        field = read_transform(stem.with_name(f"{stem.name}.nrrd"))
        affine = np.asarray(read_transform(stem.with_name(f"{stem.name}_affine.tfm")), dtype=float)
        if not isinstance(field, DisplacementField):
            raise RegRefineError(f"{stem}.nrrd: is no displacement field; run the template again")
        mapping = Mapping.from_field(field, affine, template.geometry)
        made = {
            "absolute": log_jacobian(mapping, with_affine=True),
            "relative": without_mean(log_jacobian(mapping, with_affine=False), mask),
        }
        for name, volume in made.items():
            path = place / f"{scan.id}_{name}.nii.gz"
            write_map(blurred(volume, fwhm_mm), path)
            rows.append(MapRow(scan.id, name, path.name, scan.group, scan.session))
    write_labels(Volume(mask.astype(np.uint8), template.geometry), place / "mask.nii.gz")
    return write_table(rows, place)


def write_fused(runs: Sequence[Run], folder: Path, method: str) -> tuple[Path, Fused, int]:
    """Fuse the labels of all scans brought onto one; return the file, the map and how many.

    fused_labels.nii.gz, and fused_share.nii.gz where the method has shares: a voxel's confidence.

    Raises:
        RegRefineError: the runs have several targets, or fewer than two of them have labels.
    """
    targets = {run.fixed.id for run in runs}
    if len(targets) != 1:
        raise RegRefineError("--fuse: atlases are brought onto one scan; give --to")
    target = read_volume(runs[0].fixed.image)
    labels, images = [], []
    for run in runs:
        path = folder / RUNS / run.name / "transform.nrrd"
        if not run.moving.labels or not path.is_file():
            continue
        field = read_transform(path)
        moving = read_labels(run.moving.labels).volume
        labels.append(resample(moving, target.geometry, field, "nearest"))
        if method == "local":
            image = read_volume(run.moving.image)
            low = float(image.array.min())
            images.append(resample(image, target.geometry, field, outside=low))
    fused = fuse(labels, method, images or None, target)
    path = folder / "fused_labels.nii.gz"
    write_labels(fused.labels, path)
    if fused.share is not None:
        write_volume(fused.share, folder / "fused_share.nii.gz")
    return path, fused, len(labels)
