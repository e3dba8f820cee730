"""The peers' own fields, put into our frame: a known shift must come back. Skips without them.

Peers are looked for in REGREFINE_PEERS only, so that nothing installed for other ends runs here.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.bench_pairs import SHIFT_RAS, write_set

from RegRefineLib.bench.cases import read_cases
from RegRefineLib.bench.environments import python_of
from RegRefineLib.bench.execute import _measured
from RegRefineLib.bench.judge import read_field
from RegRefineLib.bench.prealigned import Aligned, aligned, grid_of
from RegRefineLib.bench.runners.task import Task
from RegRefineLib.bench.tools import TOOLS
from RegRefineLib.geometry import Volume
from RegRefineLib.io.volumes import read_volume, write_volume

# what finds the shift of this small pair quickly
QUICK = {
    "greedy": {"iterations": "60x40"},
    "elastix": {"MaximumNumberOfIterations": 100},
    "syn-mattes": {"reg_iterations": [60, 30]},
    "convexadam": {},
    "fireants": {"scales": [2, 1], "iterations": [100, 40]},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_a_peer_finds_the_shift_in_the_right_frame(name, masked, tmp_path):
    place = os.environ.get("REGREFINE_PEERS")
    python = python_of(TOOLS[name], Path(place)) if place else None
    if python is None:
        pytest.skip(f"{name} is not installed in REGREFINE_PEERS")
    sets, _ = read_cases(write_set(tmp_path), tmp_path)
    pair = aligned(sets["small"][0], tmp_path / "pairs")
    settings = {**TOOLS[name].settings, **QUICK[name]}
    field = str(tmp_path / "field.nii")
    mask = _partly_covered(pair, tmp_path) if masked else ""
    task = Task(str(pair.fixed), str(pair.moving), field, str(tmp_path), 1, settings)
    task.moving_mask = mask
    record, error = _measured(TOOLS[name], python, task, 300)
    assert error is None, error
    fixed = grid_of(pair)
    field = read_field(Path(record["field"]), fixed.geometry)
    found = np.median(field.vectors[fixed.array > 60], axis=0)
    np.testing.assert_allclose(found, SHIFT_RAS, atol=0.8)


def _partly_covered(pair: Aligned, folder: Path) -> str:
    """Cut the moving scan's first planes off, as beyond a scan's end, and return its mask."""
    moving = read_volume(pair.moving)
    there = np.ones(moving.array.shape, np.uint8)
    there[:3] = 0
    write_volume(Volume(np.where(there, moving.array, 0), moving.geometry), pair.moving)
    write_volume(Volume(there, moving.geometry), folder / "mask.nii")
    return str(folder / "mask.nii")
