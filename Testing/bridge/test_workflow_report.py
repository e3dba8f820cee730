"""A run's report as a page and as JSON."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser

import pytest
from RegRefineBridge.workflow.interfaces import Inputs, Request
from RegRefineBridge.workflow.presenter import Presenter
from RegRefineBridge.workflow.report import page, saveReport
from support.presenter_fakes import FakeScene, FakeWorker

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job


class Balanced(HTMLParser):
    """Checks that every element is closed, and collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path):
    worker = FakeWorker()
    folder = tmp_path / "run"
    folder.mkdir()
    presenter = Presenter(FakeScene(), worker, lambda: folder)
    presenter.start(Request(Inputs("a", "b"), Job(settings={"steps": 7}), title="<mine>"))
    worker.finish(
        after={"dice": {"mean": 0.8, "2": 0.8}, "ncc": 0.9},
        before={"dice": {"mean": 0.6, "2": 0.6}},
        warnings=["they hardly overlap & more"],
        versions={"torch": "2.13.0"},
    )
    return presenter.shown()


def test_the_page_has_figures_settings_warnings_and_versions(run):
    parser = Balanced()
    parser.feed(page(run, {2: "left ventricle"}))
    assert parser.open == []
    for expected in (
        "<mine>",
        "left ventricle",
        "0.600",
        "0.800",
        "b to a",
        "better",
        '"steps": 7',
        "2.13.0",
        "& more",
    ):
        assert expected in parser.text


def test_reports_are_written_as_page_or_json(run, tmp_path):
    saveReport(run, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    saveReport(run, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["after"]["ncc"] == 0.9


def test_a_report_that_cannot_be_written_is_said(run, tmp_path):
    with pytest.raises(RegRefineError, match="cannot be written"):
        saveReport(run, tmp_path / "no" / "report.html")


def test_the_page_has_the_date_the_picture_and_what_got_worse(run):
    text = page(run, {}, b"\x89PNG")
    assert time.strftime("%Y-%m-%d") in text
    assert "src='data:image/png;base64,iVBORw=='" in text
    assert "Worse than the start" not in text
