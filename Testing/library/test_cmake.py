"""The lists that the Slicer build installs from are what lies on the disk."""

from __future__ import annotations

import re
import subprocess

import pytest
from support.paths import ROOT


def listed(folder: str, variable: str) -> set[str]:
    text = (ROOT / folder / "CMakeLists.txt").read_text()
    found = re.search(rf"set\({variable}\s+([^)]*)\)", text)
    assert found, f"{folder}/CMakeLists.txt sets no {variable}"
    return set(found[1].split())


def on_disk(folder: str, *patterns: str) -> set[str]:
    known = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if known.returncode:
        pytest.skip("not a git checkout")
    names = {name.removeprefix(f"{folder}/") for name in known.stdout.split("\n") if name}
    return {n for n in names if (ROOT / folder / n).is_file() and n.endswith(patterns)}


def test_every_library_file_is_installed():
    assert listed("RegRefineLib", "MODULE_PYTHON_SCRIPTS") == on_disk("RegRefineLib", ".py")


def test_every_file_of_the_module_is_installed():
    assert listed("RegRefine", "MODULE_PYTHON_SCRIPTS") == on_disk("RegRefine", ".py")


def test_every_resource_is_installed():
    resources = {n for n in on_disk("RegRefine", "") if n.startswith("Resources/")}
    assert listed("RegRefine", "MODULE_PYTHON_RESOURCES") == resources


def test_the_extension_names_what_the_index_asks_for():
    text = (ROOT / "CMakeLists.txt").read_text()
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name} "[^"]+"\)', text), name
    assert "project(RegRefine)" in text
