"""The recipes are run as they are printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.small import bend, grid, image_on, labels_on

from RegRefineLib.api.pages import FOLDER
from RegRefineLib.cli import main
from RegRefineLib.io.volumes import write_labels, write_volume

TEXT = (FOLDER / "RECIPES.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_recipes_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid_of_both = grid((20, 18, 22))
    write_volume(image_on(grid_of_both, lambda p: p + bend(p)), tmp_path / "fixed.nii.gz")
    write_volume(image_on(grid_of_both), tmp_path / "moving.nii.gz")
    write_volume(image_on(grid_of_both, lambda p: p * 1.02), tmp_path / "other.nii.gz")
    labels = labels_on(grid_of_both, lambda p: p + bend(p))
    write_labels(labels, tmp_path / "fixed_labels.nii.gz")
    write_labels(labels_on(grid_of_both), tmp_path / "moving_labels.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 10
    names: dict[str, object] = {}
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "RECIPES.md", "exec"), names)
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "regrefine"
            assert main(words) == 0, line
