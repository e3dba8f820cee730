"""An unbiased template of a cohort: register to the average, average, take the mean shape out.

Each iteration registers every scan to the template (linear alone at first, then deformable), takes
the mean of the maps out of them (shape_update.py) and averages the scans through what is left, each
interpolated once. So the maps that are written belong to the template that is written, not to the
one before it. An iteration that is done is not done again, nor a run within it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry, Volume
from ..io.transforms import read_transform, write_affine
from ..io.volumes import read_volume, write_volume
from ..job import Job
from ..resample import resample
from . import averages
from .checks import Looked, digest
from .compact import compact, write_compact
from .engine import Perform
from .execute import Record, finished
from .linear_mean import mean_affine, without_rigid
from .manifest import Scan
from .runs import Run, digest_of
from .shape_update import Mapping as ScanMap
from .shape_update import MeanResidual, Update, lands_inside, lengths
from .template_files import (
    Iteration,
    centre_of_mass,
    key_of,
    note,
    padded_grid,
    read_map,
    ready,
    sentence,
    write_map,
    write_rows,
)

Say = Callable[[str], None]
_NAME = "template"


@dataclass(frozen=True)
class Plan:
    """How a template is made.

    Attributes:
        linear, deformable: iterations of each; the deformable ones end early where the template
            does not change any more.
        statistic: mean, median or trimmed; sharpen: amount of unsharp masking.
        spacing_mm: of the template; None: the scans' median. margin: of the scans' size, added.
        target: a file to begin with, in place of the average of the scans as they lie.
        change: correlation of two successive templates is above 1 - change, and the mean field
            below a tenth of a voxel: enough.
        holes: whether an average may be made without scans whose run failed.
        bound_mm: of the compact fields.
    """

    linear: int = 1
    deformable: int = 4
    statistic: str = "mean"
    sharpen: float = 0.25
    spacing_mm: float | None = None
    margin: float = 0.1
    target: str = ""
    change: float = 1e-4
    holes: bool = False
    bound_mm: float = 0.05


@dataclass(frozen=True, eq=False)
class Built:
    """A finished template, its file, how it came about and the scans in it."""

    template: Volume
    path: Path
    iterations: tuple[Iteration, ...]
    scans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """What a template is made of.

    Attributes:
        scans: two or more; looked: what checks.check found of each.
        folder: to write to.
        job: of the deformable iterations; its linear part is found in the first one and goes on
            from iteration to iteration.
    """

    scans: Sequence[Scan]
    looked: Mapping[str, Looked]
    folder: Path
    job: Job
    plan: Plan


def build(inputs: Inputs, perform: Perform, say: Say) -> Built:
    """Return the template of the scans, written to template.nii.gz with each scan's maps.

    Args:
        perform: does runs (engine.opened).

    Raises:
        RegRefineError: a run failed and holes are not allowed; fewer than two scans.
    """
    if len(inputs.scans) < 2:
        raise RegRefineError(f"a template needs two scans or more, got {len(inputs.scans)}")
    return _Builder(inputs, perform, say).built()


class _Builder:
    """The iterations, one after the other."""

    def __init__(self, inputs: Inputs, perform: Perform, say: Say):
        self.scans, self.looked, self.folder = inputs.scans, inputs.looked, inputs.folder
        self.job, self.plan, self.perform, self.say = inputs.job, inputs.plan, perform, say
        self.affines: dict[str, FloatArray] = {}

    def built(self) -> Built:
        """Return the template after the last iteration."""
        template = self._start()
        kinds = ["linear"] * self.plan.linear + ["deformable"] * self.plan.deformable
        rows: list[Iteration] = []
        used: tuple[str, ...] = ()
        place = self.folder
        for number, kind in enumerate(kinds, 1):
            place = self.folder / f"iteration-{number:02d}"
            template, row, used = self._iteration(number, kind, template, place)
            rows.append(row)
            write_rows(rows, self.folder)
            self.say(sentence(row))
            if self._is_settled(row, template.geometry):
                self.say(f"the template does not change any more after iteration {number}")
                break
        path = self.folder / "template.nii.gz"
        write_volume(template, path)
        self._publish(place)
        return Built(template, path, tuple(rows), used)

    def _is_settled(self, row: Iteration, grid: Geometry) -> bool:
        still = row.mean_field_mm < 0.1 * float(grid.spacing.min())
        same = row.correlation_with_previous > 1.0 - self.plan.change
        return row.kind == "deformable" and row.iteration > self.plan.linear + 1 and still and same

    def _start(self) -> Volume:
        """Return the target, or the average of the scans with their middles brought together."""
        path = self.folder / "iteration-00" / f"{_NAME}.nii.gz"
        if self.plan.target:
            template = averages.normalised(read_volume(self.plan.target))
            write_volume(template, path)
            return template
        hashes = [self.looked[scan.id].hashes["image"] for scan in self.scans]
        key = key_of([], [hashes, self.plan.spacing_mm, self.plan.margin])
        if ready(path.parent, key) is not None:
            return read_volume(path)
        middles = {scan.id: centre_of_mass(read_volume(scan.image)) for scan in self.scans}
        edges = [edge for each in self.looked.values() for edge in each.spacing]
        spacing = self.plan.spacing_mm or float(np.median(edges))
        grid = padded_grid(self.scans, middles, spacing, self.plan.margin)
        stack = averages.Stack(grid, path.parent / "stack")
        for scan in self.scans:
            matrix = np.eye(4)
            matrix[:3, 3] = middles[scan.id] - grid.centre
            image = averages.normalised(read_volume(scan.image))
            stack.add(_seen(image, grid, matrix), scan.weight)
        template = stack.average("mean")  # not sharpened: it is far from sharp on purpose
        write_volume(template, path)
        note(path.parent, key, Iteration(0, "start", *2 * (len(self.scans),), *5 * (0.0,)), ())
        return template

    def _iteration(
        self, number: int, kind: str, template: Volume, place: Path
    ) -> tuple[Volume, Iteration, tuple[str, ...]]:
        """Return the next template, what it came to, and the scans in it."""
        place.mkdir(parents=True, exist_ok=True)
        runs = self._runs(kind, place, self.folder / f"iteration-{number - 1:02d}")
        plan = self.plan
        key = key_of(runs, [plan.statistic, plan.sharpen, plan.holes, plan.bound_mm])
        done = ready(place, key)
        if done is None:
            self._register(runs, place)
            done = self._averaged(number, kind, template, runs, place)
            note(place, key, *done)
        row, used = done
        for name in used:
            self.affines[name] = np.asarray(
                read_transform(place / "maps" / f"{name}_affine.tfm"), dtype=float
            )
        return read_volume(place / f"{_NAME}.nii.gz"), row, used

    def _runs(self, kind: str, place: Path, before: Path) -> list[Run]:
        """Return a run for each scan, from the linear part that it has got so far."""
        path = before / f"{_NAME}.nii.gz"
        fixed = Scan(_NAME, str(path.absolute()))
        hashes = {_NAME: {"image": digest(path)}}
        job = (
            self.job if kind == "deformable" else self.job.replaced(refinement="none", settings={})
        )
        runs = []
        for scan in self.scans:
            moving = replace(scan, landmarks="", labels="")
            if scan.id in self.affines:
                start = place / "starts" / f"{scan.id}.tfm"
                start.parent.mkdir(parents=True, exist_ok=True)
                write_affine(self.affines[scan.id], start)
                moving = replace(moving, initial=str(start.absolute()))
            run = Run(f"from-{scan.id}_to-{_NAME}", fixed, moving, job, "minimal",
                      self.plan.bound_mm)  # fmt: skip
            hashes[scan.id] = self.looked[scan.id].hashes
            runs.append(replace(run, digest=digest_of(run, hashes)))
        return runs

    def _register(self, runs: Sequence[Run], place: Path) -> None:
        """Do the runs that are missing.

        Raises:
            RegRefineError: one failed and holes are not allowed, or fewer than two are left.
        """
        missing = [run for run in runs if finished(run, place) is None]
        failed: list[Record] = []

        def done(record: Record) -> None:
            if record["status"] == "failed":
                failed.append(record)
                self.say(f"{record['run']} failed: {record['reason']}")

        self.perform(missing, place, done)
        if failed and (not self.plan.holes or len(runs) - len(failed) < 2):
            raise RegRefineError(
                f"{len(failed)} of {len(runs)} runs failed, so no average was made: "
                f"{failed[0]['run']}: {failed[0]['reason']}; mend it and run the same command "
                "again, or allow averages of fewer scans"
            )

    def _averaged(
        self, number: int, kind: str, template: Volume, runs: Sequence[Run], place: Path
    ) -> tuple[Iteration, tuple[str, ...]]:
        """Take the mean shape out of the maps and average the scans through them."""
        grid = template.geometry
        there = [run for run in runs if finished(run, place) is not None]
        weights = {run.moving.id: run.moving.weight for run in there}
        mean, matrices = MeanResidual(grid), {}
        inside = np.ones(grid.shape, bool)  # what every scan shows: elsewhere fields are guesses
        for run in there:
            mapping = read_map(run, place, grid)
            inside &= lands_inside(mapping, read_volume(run.moving.image).geometry)
            matrices[run.moving.id] = mapping.affine
            mean.add(mapping.residual, run.moving.weight)
        middle = mean_affine(list(matrices.values()), list(weights.values()))
        stretch = without_rigid(middle, grid.centre)
        update = Update.of(mean.field(), stretch)
        stack = averages.Stack(grid, place / "stack")
        for run in there:
            mapping = update.applied(read_map(run, place, grid))
            write_map(mapping, place / "maps", run.moving.id, self.plan.bound_mm)
            image = averages.normalised(read_volume(run.moving.image))
            stack.add(_seen(image, grid, mapping.whole()), run.moving.weight)
        average = stack.average(self.plan.statistic)
        changed = averages.sharpened(average, self.plan.sharpen if kind == "deformable" else 0.0)
        length, largest = lengths(mean.field(), inside)
        row = Iteration(
            number, kind, len(there), len(runs), length, largest,
            float(np.linalg.det(stretch[:3, :3])), averages.gradient_energy(average),
            averages.correlation(template, changed),
        )  # fmt: skip
        write_volume(changed, place / f"{_NAME}.nii.gz")
        return row, tuple(weights)

    def _publish(self, place: Path) -> None:
        """Write each scan's map from the template and back beside the template."""
        for path in sorted((place / "maps").glob("*_affine.tfm")):
            name = path.name.removesuffix("_affine.tfm")
            scan = next(scan for scan in self.scans if scan.id == name)
            target = self.folder / "maps"
            target.mkdir(exist_ok=True)
            source = place / "maps" / f"{name}.nrrd"
            shutil.copy(source, target / f"from-{name}_to-{_NAME}.nrrd")
            shutil.copy(path, target / f"from-{name}_to-{_NAME}_affine.tfm")
            whole = read_transform(source)
            grid = read_volume(place / f"{_NAME}.nii.gz").geometry
            affine = np.asarray(read_transform(path), dtype=float)
            mapping = ScanMap.from_field(whole, affine, grid)  # type: ignore[arg-type]
            back, _ = mapping.inverse(read_volume(scan.image).geometry)
            write_compact(compact(back, self.plan.bound_mm)[0],
                          target / f"from-{_NAME}_to-{name}.nrrd")  # fmt: skip


def _seen(image: Volume, grid: Geometry, mapping: DisplacementField | FloatArray) -> FloatArray:
    """Return the image through a map on the template's grid; outside it has its lowest value."""
    return resample(image, grid, mapping, outside=float(image.array.min())).array
