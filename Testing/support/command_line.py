"""Files for the command line to work on, and ways to call it in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from RegRefineLib import cli
from RegRefineLib.geometry import DisplacementField, Volume
from RegRefineLib.io import landmarks, transforms
from RegRefineLib.io import volumes as files
from support.small import bend, grid, image_on, labels_on

QUICK = ("--preset", "fixed", "--steps", "2")
GRID = grid()


def write_inputs(folder: Path) -> Path:
    """A folder with a pair, its labels, masks, landmarks, transforms and damaged files."""
    moving_grid = grid((19, 20, 21), (2.2, 1.9, 2.1), middle=(1, 0, -1))

    def bent(points):
        return points + bend(points)

    files.write_volume(image_on(GRID, bent), folder / "fixed.nii.gz")
    files.write_volume(image_on(moving_grid), folder / "moving.nrrd")
    files.write_labels(labels_on(GRID, bent), folder / "fixed_labels.nii.gz")
    files.write_labels(labels_on(moving_grid), folder / "moving_labels.nrrd")
    files.write_labels(labels_on(grid((12, 12, 12), (3.0,) * 3)), folder / "coarse_labels.nrrd")
    ones = np.ones(GRID.shape, np.uint8)
    files.write_labels(Volume(ones, GRID), folder / "mask.nii.gz")
    files.write_labels(Volume(0 * ones, GRID), folder / "empty.nii.gz")
    files.write_labels(
        Volume(ones, grid(GRID.shape, middle=(900, 0, 0))), folder / "far_labels.nii.gz"
    )
    torch.save({"a": torch.ones(2)}, folder / "w.pt")
    points = np.array([[0.0, 0, 0], [5, -4, 3], [-6, 2, 1]])
    landmarks.write_landmarks(["a", "b", "c"], points, folder / "fixed.fcsv")
    landmarks.write_landmarks(["a", "b", "c"], bent(points), folder / "moving.fcsv")
    landmarks.write_landmarks(["a"], points[:1], folder / "one.fcsv")
    field = DisplacementField(bend(GRID.points()).astype(np.float32), GRID)
    transforms.write_field(field, folder / "field.nrrd")
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, -1
    transforms.write_affine(shift, folder / "shift.tfm")
    return folder


def run(capsys, *words) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a command in this process."""
    try:
        status = cli.main([str(word) for word in words])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys, *words) -> str:
    """The one line on standard error of a command that must end with status 2."""
    status, _, err = run(capsys, *words)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert status == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("regrefine: ")
    return lines[0]


def registers(inputs: Path, output: Path, *more, fixed="fixed.nii.gz", moving="moving.nrrd"):
    return ("register", inputs / fixed, inputs / moving, "-o", output, *QUICK, *more)
