"""The generated pages are those that the code would write now; RESULT.md has every field."""

from __future__ import annotations

import json

import pytest
from support.paths import ROOT

from RegRefineLib.api.pages import FOLDER, PAGES
from RegRefineLib.judgement import METRICS
from RegRefineLib.metrics.report import report

RESULT = (FOLDER / "RESULT.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_not_stale(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: python -m RegRefineLib.api.pages"


def test_every_field_of_result_json_is_described() -> None:
    schema = json.loads((ROOT / "RegRefineLib" / "io" / "result.schema.json").read_text())
    for name in schema["properties"]:
        assert f"`{name}`" in RESULT, name
    for name in schema["$defs"]["provenance"]["properties"]:
        assert f"`{name}`" in RESULT, name


def test_every_metric_is_defined() -> None:
    documented = report.__globals__["__doc__"]
    for name in METRICS:
        assert f"| `{name}` |" in RESULT, name
        assert name in documented or "_..." in documented, name


def test_the_citation_file_says_version_and_licence() -> None:
    import RegRefineLib

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = f"version: {RegRefineLib.__version__}"
    for line in ("cff-version: 1.2.0", version, "license: Apache-2.0"):
        assert line in text
