"""The bar of a terminal says what a run says."""

from __future__ import annotations

import io
import sys

from RegRefineLib.job import Progress
from RegRefineLib.progress_bar import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_sentence_stands_on_the_bar_until_the_next_step(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = Bar()
    bar(Progress("affine", message="compiling the loops for this machine, once"))
    assert "compiling the loops for this machine, once" in terminal.getvalue()
    before = len(terminal.getvalue())
    bar(Progress("affine", step=3, steps=9, loss={"total": 0.5}))
    bar._bar.refresh()
    assert "compiling" not in terminal.getvalue()[before:]
    assert "loss=0.5000" in terminal.getvalue()
    bar.close()
