"""A progress bar for a terminal or, in a notebook, the notebook's own."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm

from .job import Progress


class Bar:
    """A report callback that draws a progress bar with the loss and the time left on stderr.

    There is no bar where stderr is neither a terminal nor a notebook.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if progress.warning:
            tqdm.write(f"warning: {progress.message}", file=sys.stderr)
            return
        if progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=progress.steps or None, desc=f"{progress.stage:8}", leave=False, disable=None
            )
        if self._bar is not None and progress.message:
            self._bar.set_postfix_str(progress.message)
        if self._bar is None or not progress.loss:
            return
        if progress.steps and self._bar.total != progress.steps:
            self._bar.total = progress.steps
        self._bar.update(progress.step + 1 - self._bar.n)
        shown = {"loss": f"{progress.loss.get('total', 0.0):.4f}"}
        if "dice" in progress.metrics:
            shown["dice"] = f"{progress.metrics['dice']:.3f}"
        self._bar.set_postfix(shown, refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
