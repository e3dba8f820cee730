"""report.html: whole, self-contained, and right in a real browser; result.json by its schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.paths import ROOT
from support.small import bend, grid, image_on, labels_on

import RegRefineLib as rr
from RegRefineLib.report.residual import worst_places

GRID = grid((24, 22, 26))
SCHEMA = json.loads((ROOT / "RegRefineLib" / "io" / "result.schema.json").read_text())
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# moves the first slider, looks for overflow, and leaves what it found in the page's title
PROBE = """<script>
addEventListener("load", () => {
  const slider = document.querySelector(".cut input"), after = document.querySelector(".after");
  const clip = (value) => {
    slider.value = value; slider.dispatchEvent(new Event("input"));
    return getComputedStyle(after).clipPath;
  };
  document.title = JSON.stringify({
    clips: [clip(10), clip(90)],
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    images: [...document.images].map((image) => image.complete && image.naturalWidth > 0),
    width: innerWidth,
    requests: performance.getEntriesByType("resource").map((e) => e.name)
      .filter((name) => !name.startsWith("data:")),
  });
});
</script></body>"""


@pytest.fixture(scope="module")
def result() -> rr.Registration:
    marks = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 1.0]])
    return rr.register(
        image_on(GRID, lambda p: p + bend(p)),
        image_on(GRID),
        affine="none",
        device="cpu",
        levels="2:15 1:5",
        small_steps=0,
        fixed_labels=labels_on(GRID, lambda p: p + bend(p)),
        moving_labels=labels_on(GRID),
        fixed_landmarks=marks,
        moving_landmarks=marks + bend(marks),
    )


@pytest.fixture(scope="module")
def page(result: rr.Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.report(tmp_path_factory.mktemp("report") / "report <é> 1.html")


def test_the_page_holds_everything_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 3e6
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', text)
    assert not re.findall(r"url\((?!data:)", text)
    assert "prefers-color-scheme: dark" in text


def test_it_says_what_was_done_and_how_it_went(page: Path, result: rr.Registration) -> None:
    text = page.read_text(encoding="utf-8")
    for words in (
        *("Better than the images as they came by", "Where to look first", "per structure"),
        *("Images were registered with RegRefine", "15 steps at 1/2 resolution", "sha256"),
        *("arXiv:2404.01249", "squared local correlation", "The worst of 2"),
        f"{result.raw.after['dice']['mean']:.3f}",
    ):
        assert words in text, words


def test_what_users_name_is_shown_as_text_and_not_run(
    result: rr.Registration, tmp_path: Path
) -> None:
    from dataclasses import replace

    raw = replace(result.raw, warnings=["<script>alert(1)</script>"])
    evil = rr.Registration(raw, result._fixed, result._moving, result._extras)
    text = evil.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_worst_place_is_where_something_was_put() -> None:
    fixed = image_on(GRID)
    array = fixed.array.copy()
    array[8:13, 6:11, 15:20] = 1.0 - array[8:13, 6:11, 15:20][::-1, ::-1, ::-1]
    place = worst_places(fixed, rr.Volume(array, GRID))[0]
    middle = GRID.to_ras(np.array([[17.0, 8.0, 10.0]]))[0]
    assert np.linalg.norm(place.ras_mm - middle) < 12
    assert place.correlation < 0.9


def test_a_report_that_cannot_be_written_is_a_sentence(
    result: rr.Registration, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(rr.RegRefineError, match="is not a folder"):
        result.report(tmp_path / "file" / "r.html")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [500, 1600])  # 500 is the least that a headless window takes
def test_it_works_in_a_browser(page: Path, tmp_path: Path, width: int) -> None:
    probed = tmp_path / "probe.html"
    text = page.read_text(encoding="utf-8")
    probed.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--window-size={width},1200", "--virtual-time-budget=2000"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}"),
            probed.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr[-1500:]
    found = json.loads(title[1].replace("&amp;", "&"))
    assert found["clips"][0] != found["clips"][1]
    assert "10%" in found["clips"][0]
    assert found["overflow"] <= 0
    assert found["images"]
    assert all(found["images"])
    assert found["requests"] == []
    assert "CONSOLE" not in done.stderr, done.stderr[-1500:]


def test_result_json_is_what_the_schema_says(result: rr.Registration, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    written = json.loads(result.save(tmp_path)["result"].read_text())
    jsonschema.validate(written, SCHEMA)
    inputs = written["provenance"]["inputs"]
    assert {"fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks"} <= set(inputs)
    assert inputs["fixed"]["of"] == "array"
    assert inputs["fixed"]["shape_ijk"] == [26, 22, 24]


def test_the_schema_refuses_what_is_not_a_result(result: rr.Registration) -> None:
    good = result.raw.to_json()
    for change in ({"before": 3}, {"warnings": [1]}, {"extra": 1}, {"schema": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, SCHEMA)
