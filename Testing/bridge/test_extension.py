"""The catalogue's entry, the extension's metadata and its documentation agree and exist."""

from __future__ import annotations

import json
import re

import pytest
from support.paths import ROOT

DOCUMENTATION = ROOT / "RegRefine" / "Documentation"


def metadata() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', text))


def test_the_entry_agrees_with_the_extension():
    entry = json.loads((DOCUMENTATION / "RegRefine.json").read_text(encoding="utf-8"))
    cmake = metadata()
    assert entry["category"] == cmake["CATEGORY"] == "Registration"
    assert entry["build_dependencies"] == cmake["DEPENDS"].split() == ["PyTorch"]
    assert entry["scm_url"] == cmake["HOMEPAGE"]
    assert entry["scm_url"].rpartition("/")[2] == "SlicerRegRefine"
    assert not re.fullmatch("[0-9a-f]{7,40}", entry["scm_revision"])
    assert entry["tier"] in (1, 3, 5)


def test_keywords_and_companions_are_words_of_the_manager():
    cmake = metadata()
    assert {"registration", "deformable"} <= set(cmake["KEYWORDS"].split())
    assert not set(cmake["RECOMMENDS"].split()) & set(cmake["DEPENDS"].split())


def test_the_homepage_has_a_sentence_for_each_module_and_how_to_cite():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "## Slicer modules" in text
    assert "**RegRefine**" in text
    assert "## How to cite" in text
    assert "Apache-2.0" in text


def test_the_description_is_one_or_two_sentences():
    description = metadata()["DESCRIPTION"]
    assert 1 <= len(re.findall(r"[.!?](?:\s|$)", description)) <= 2
    assert len(description) < 300


def test_icon_and_screenshots_are_files_of_this_repository():
    cmake = metadata()
    addresses = [cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()]
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith("https://raw.githubusercontent.com/")
        assert (ROOT / address.partition("/main/")[2]).is_file(), address


def test_the_icon_is_128_pixels_square():
    data = (ROOT / "RegRefine" / "Resources" / "Icons" / "RegRefine.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert [int.from_bytes(data[at : at + 4], "big") for at in (16, 20)] == [128, 128]


@pytest.mark.parametrize("page", sorted(DOCUMENTATION.glob("*.md")), ids=lambda p: p.name)
def test_links_of_the_documentation_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_tutorial_names_buttons_and_presets_that_there_are():
    from RegRefineLib.presets import PRESETS

    text = (DOCUMENTATION / "TUTORIAL.md").read_text(encoding="utf-8")
    ui = (ROOT / "RegRefine" / "Resources" / "UI" / "RegRefine.ui").read_text(encoding="utf-8")
    names = {"Apply", "Discard", "Revert", "Restore", "Compare", "Checkerboard", "Flicker", "Reset"}
    names |= {"Keep", "Same both ways", "Guide the deformation", "Backbone:", "Start from:"}
    for name in names:
        assert name.removesuffix(":") in text
        assert f"<string>{name}</string>" in ui
    assert {"default", "ct", "fast"} <= set(PRESETS)
    assert "RegRefineBrainTumor" in text


def test_the_tutorial_s_program_calls_what_there_is():
    """Names and arguments of its Python example exist."""
    import ast

    text = (DOCUMENTATION / "TUTORIAL.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    source = (ROOT / "RegRefine" / "RegRefine.py").read_text(encoding="utf-8")
    classes = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}
    run = next(n for n in classes["RegRefineLogic"].body if getattr(n, "name", "") == "run")
    known = {argument.arg for argument in run.args.args}
    known |= {"fixedSegmentation", "movingSegmentation", "wanted", "chosen"}
    calls = [n for n in ast.walk(ast.parse(program)) if isinstance(n, ast.Call)]
    runs = [c for c in calls if getattr(c.func, "attr", "") == "run"]
    assert len(runs) == 3
    for call in runs:
        assert {keyword.arg for keyword in call.keywords} <= known
