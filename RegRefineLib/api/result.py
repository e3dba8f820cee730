"""What `register` gives to scripts and notebooks: images and transforms to use, save and show."""

from __future__ import annotations

import html
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from ..geometry import Volume
from ..io.volumes import LabelMap
from ..job import Extras, Job, Result
from ..judgement import stages, table
from .convert import Image, image_of
from .transform import Transform


class Registration:
    """A finished registration.

    Attributes:
        raw: the library's own Result, with all its arrays.
        transform: fixed points -> moving points; `.inverse`, `.linear`, `.apply`, `.points`.
        warped, warped_labels, jacobian: on the fixed grid; None where there is none.
        metrics: by stage (before, initial, affine, after), then by name; RESULT.md defines them.
        warnings: what was changed or looks doubtful, in sentences.
    """

    def __init__(
        self,
        raw: Result,
        fixed: Volume,
        moving: Volume,
        extras: Extras,
        label_map: LabelMap | None = None,
    ):
        """Hold a Result with the images it came from, for pictures and reports."""
        self.raw = raw
        self._fixed, self._moving, self._extras = fixed, moving, extras
        self._label_map = label_map

    @cached_property
    def transform(self) -> Transform:
        """The transform of fixed points to moving points, on the fixed grid."""
        moving = self._moving.geometry
        return Transform(self.raw.field, self.raw.affine, moving, self.raw.inverse)

    @cached_property
    def warped(self) -> Image:
        """The moving image on the fixed grid."""
        return image_of(self.raw.warped)

    @cached_property
    def warped_labels(self) -> Image | None:
        """The moving labels on the fixed grid, None where none were given."""
        return None if self.raw.warped_labels is None else image_of(self.raw.warped_labels)

    @cached_property
    def jacobian(self) -> Image | None:
        """The Jacobian determinant of the mapping, None unless jacobian=True was asked for."""
        return None if self.raw.jacobian is None else image_of(self.raw.jacobian)

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of each stage by name."""
        return stages(self.raw)

    @property
    def job(self) -> Job:
        """The job as it was done, every field filled."""
        return self.raw.job

    @property
    def warnings(self) -> list[str]:
        """What was changed or looks doubtful, in sentences."""
        return list(self.raw.warnings)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each stage."""
        return dict(self.raw.seconds)

    def save(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """Write the files that `regrefine register` writes and return their paths by role.

        Raises:
            RegRefineError: the folder cannot be written.
        """
        from ..io.result_folder import write_result

        return write_result(self.raw, Path(folder), self._label_map)

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """Draw three planes before and after, the deformation and the metrics into a PNG.

        Raises:
            RegRefineError: the file cannot be written.
        """
        from ..plots import overview

        shown = overview.of_result(self.raw, self._fixed, self._moving, self._extras)
        overview.overview(shown, path)
        return Path(path)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the report, one self-contained HTML file, and return its path.

        Raises:
            RegRefineError: the file cannot be written.
        """
        from ..report.page import write_report

        return write_report(self.raw, self._fixed, self._moving, self._extras, path)

    def __repr__(self) -> str:
        rows = table(self.metrics)
        short = "; ".join(f"{row[0]} {row[1]} -> {row[-1]}" for row in rows[1:4])
        total = sum(self.raw.seconds.values())
        doubts = f"{len(self.raw.warnings)} warnings" if self.raw.warnings else "no warnings"
        lines = [
            f"<Registration by {self.job.preset} on {self.raw.device} in {total:.1f} s>",
            short or "no metrics",
            f"{doubts}; .transform .warped .metrics .save(folder) .report(file)",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the picture, the metrics and the warnings for a notebook."""
        import base64
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            png = self.picture(Path(folder) / "overview.png").read_bytes()
        rows = table(self.metrics)
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows[1:]
        )
        doubts = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.raw.warnings)
        image = base64.b64encode(png).decode("ascii")
        return (
            f'<img alt="registration" style="max-width:100%" src="data:image/png;base64,{image}">'
            f"<table><tr>{head}</tr>{body}</table>" + (f"<ul>{doubts}</ul>" if doubts else "")
        )
