"""A small pair whose answer is known, on a grid that forgives no mistake in axes or frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.io.volumes import write_volume

SHIFT_RAS = np.array([3.0, -2.0, 4.0])  # mm from fixed to moving points


def oblique_grid(shape=(36, 40, 44)) -> Geometry:
    turn = np.deg2rad(20)
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    direction = np.array(about_z) @ np.diag([-1, 1, 1])[:, [1, 2, 0]]
    return Geometry.from_parts(shape, (1.5, 2.0, 1.0), direction, (5, -7, 11))


def blobs(grid: Geometry, shift_ras=(0, 0, 0), count=40) -> Volume:
    """Bright blobs at fixed places of space, moved by a shift in mm."""
    generator = np.random.default_rng(5)
    places = grid.to_ras(generator.uniform(0.2, 0.8, (count, 3)) * (np.array(grid.shape[::-1]) - 1))
    heights = generator.uniform(40, 100, count)
    points, image = grid.points(), np.zeros(grid.shape)
    for place, height in zip(places + np.asarray(shift_ras), heights, strict=True):
        gap = np.square(points - place).sum(axis=-1)
        image += height * np.exp(-gap / (2 * 4.0**2))
    return Volume(image.astype(np.float32), grid)


def labelled(image: Volume) -> Volume:
    numbers, _ = ndimage.label(image.array > 60)
    return Volume((numbers > 0).astype(np.uint8), image.geometry)


def write_set(folder: Path, **more) -> Path:
    """Write the pair with labels, and return the JSON of cases that names it."""
    grid = oblique_grid()
    images = {"fixed": blobs(grid), "moving": blobs(grid, SHIFT_RAS)}
    for name, image in images.items():
        write_volume(image, folder / f"{name}.nii")
        write_volume(labelled(image), folder / f"{name}_labels.nii")
    paths = {n: f"{{0}}{n}.nii" for n in ("fixed", "moving", "fixed_labels", "moving_labels")}
    row = {**paths, "name": "blobs", "labels": [1], "pairs": [[""]], **more}
    variants = {"short": {"settings": {"job": {"settings": {"levels": "2:3"}}}}}
    path = folder / "cases.json"
    path.write_text(json.dumps({"format": 1, "sets": {"small": row}, "variants": variants}))
    return path
