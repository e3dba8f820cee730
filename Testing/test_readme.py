"""The README's tree is the tree on the disk, and what its table of "where" names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = re.search(r"## The house\n\n```\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]
# files that need no place in the tree
PLAIN = {"__init__.py", "CMakeLists.txt", "py.typed"}


def entries() -> dict[str, set[str]]:
    """Return what the tree lists, by folder: names of folders end in /, of files in .py."""
    found: dict[str, set[str]] = {}
    folders: list[str] = []
    for line in TREE.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        if depth > 3:  # the rest of a line of help
            continue
        names = re.match(r"[^ ]+(?: [^ ]+)*", line.strip())[0].split(" ")  # type: ignore[index]
        folders = [*folders[:depth], names[0].rstrip("/")]
        found.setdefault("/".join(folders[:depth]), set()).update(names)
    return found


def on_disk(folder: Path) -> set[str]:
    """Return the folder's modules (without .py) and packages (with /)."""
    modules = {p.stem for p in folder.glob("*.py") if p.name not in PLAIN}
    folders = {f"{p.name}/" for p in folder.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    return modules | folders


@pytest.mark.parametrize("folder", ["RegRefineLib", "RegRefine/RegRefineBridge"])
def test_the_tree_lists_every_room_and_nothing_else(folder: str) -> None:
    listed = {name.removesuffix(".py") for name in entries()[folder]}
    assert listed == on_disk(ROOT / folder)


def test_the_top_of_the_tree_is_there() -> None:
    for folder, names in entries().items():
        for name in names:
            if name.endswith("/"):
                assert (ROOT / folder / name).is_dir(), f"{folder}/{name}"


def test_the_places_where_things_are_added_are_there() -> None:
    rows = re.findall(r"^\| a .*\|$", README, re.MULTILINE)
    assert len(rows) >= 8
    places = [p for row in rows for p in re.findall(r"`([a-z_/]+\.py)`", row)]
    assert places
    for place in places:
        there = ROOT / "RegRefineLib" / place
        assert there.is_file() or (there.name.endswith("mine.py") and there.parent.is_dir()), place


def test_the_pages_that_the_readme_links_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link
