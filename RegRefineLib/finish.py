"""From the final displacement to the complete result of a run."""

from __future__ import annotations

import math
import platform
import sys
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import __version__
from .errors import RegRefineError
from .geometry import DisplacementField, FloatArray, Geometry, Volume, transformed
from .job import Extras, Job, Result
from .judgement import worse
from .metrics.report import Images, Landmarks
from .metrics.report import report as metrics
from .ops.folds import repair_folds
from .ops.warp import (
    from_millimetres,
    inverse_error,
    invert,
    jacobian_determinant,
    resize,
    to_millimetres,
)
from .pair import Refined
from .resample import field_on, resample

Metrics = dict[str, Any]
# a field is called rough from this SD of ln det J, or % of voxels below a tenth of their volume, on
ROUGH_SD, ROUGH_PERCENT = 0.6, 0.5
FEW = 6  # voxels along an axis: two are left when the metrics cut two off each face


class Warped(NamedTuple):
    """The moving image on the fixed grid, and its field of view there (None: everywhere)."""

    volume: Volume
    inside: NDArray[np.bool_] | None

    def overlap(self, mask: Volume | None) -> Volume | None:
        """Return where the images can be compared: within the mask and both images; None: all."""
        if self.inside is None:
            return mask
        both = self.inside if mask is None else self.inside & (mask.array != 0)
        return Volume(both.astype(np.uint8), self.volume.geometry)


class Finish:
    """Makes the result of a registration from the original volumes and the linear part (4x4)."""

    def __init__(self, fixed: Volume, moving: Volume, matrix: FloatArray, extras: Extras):
        self.fixed, self.moving = fixed, moving
        self.matrix, self.extras = matrix, extras
        self.is_linear = not np.array_equal(matrix, np.eye(4))

    def result(self, refined: Refined, job: Job) -> Result:
        """Return the result with warnings about its quality; seconds and memory are left empty.

        The displacement is in voxels of a working grid that covers the extent of the fixed image.

        Raises:
            RegRefineError: the displacement is not finite.
        """
        displacement = self._on_fixed_grid(refined.displacement)
        if not bool(torch.isfinite(displacement).all()):
            raise RegRefineError(
                "the displacement became infinite; try a smaller learning_rate or more smoothness"
            )
        field = self._whole_field(displacement)
        inverse, residual = self._inverse(displacement) if job.inverse else (None, None)
        warped = self._image(field)
        labels = self._labels(field)
        before, linear = self._starting_metrics()
        initial = self._initial_metrics(linear)
        after = self._metrics(field, warped, labels)
        return Result(
            field=field,
            affine=self.matrix,
            inverse=inverse,
            inverse_error_mm=residual,
            warped=warped.volume,
            warped_labels=labels,
            jacobian=self._jacobian(displacement) if job.jacobian else None,
            before=before,
            affine_only=linear,
            after=after,
            initial=initial,
            history=refined.history,
            seconds={},
            peak_memory_mb=0.0,
            versions=versions(),
            device=job.device,
            job=job,
            warnings=self._doubts(before, linear if initial is None else initial, after, residual),
        )

    def _doubts(
        self, before: Metrics, start: Metrics, after: Metrics, residual: float | None
    ) -> list[str]:
        """Return a sentence for each metric that got worse, and for a rough field.

        The start is the given initial transform, or else the linear part.
        """
        sentences = [
            f"{name} is worse after refinement ({first:.3f} -> {last:.3f})"
            for name, (first, last) in worse(start, after).items()
        ]
        sentences += [
            f"{name} is worse than before any alignment ({first:.3f} -> {last:.3f})"
            for name, (first, last) in worse(before, after).items()
            if self.is_linear and name not in worse(start, after)
        ]
        spread, squeezed = after["sd_log_jacobian"], after["det_below_0.1_percent"]
        if (spread or 0.0) > ROUGH_SD or (squeezed or 0.0) > ROUGH_PERCENT:
            sentences.append(
                f"the field is rough: SD of ln det J {spread:.2f}, {squeezed:.2f} % of the voxels "
                "are compressed below a tenth of their volume"
            )
        if residual is not None and residual > 0.5 * float(self.fixed.geometry.spacing.min()):
            where = "where the field folds" if after.get("folds_percent") else "in a few places"
            sentences.append(f"the inverse misses by up to {residual:.2f} mm {where}")
        return sentences

    def _on_fixed_grid(self, displacement: Tensor) -> Tensor:
        """Return the displacement in the fixed grid's voxels; folds caused by that are repaired.

        In the interpolated field the one-sided differences of the working grid matter, and these
        may fold where its central differences do not.
        """
        resized = resize(displacement, self.fixed.geometry.shape)
        if resized is displacement or bool((jacobian_determinant(displacement) <= 0).any()):
            return resized
        return repair_folds(resized)

    def _whole_field(self, displacement: Tensor) -> DisplacementField:
        """Return A(x + u(x)) - x in mm on the fixed grid."""
        grid = self.fixed.geometry
        field = to_millimetres(displacement, grid)
        if not self.is_linear:
            return DisplacementField(field.vectors, grid, self.matrix)
        linear = self.matrix[:3, :3].astype(np.float32)
        vectors = field.vectors @ linear.T
        vectors += DisplacementField.from_affine(self.matrix, grid).vectors
        return DisplacementField(vectors, grid, self.matrix)

    def _inverse(self, displacement: Tensor) -> tuple[DisplacementField, float]:
        """Return the map from moving to fixed points on the moving grid, and its residual.

        The residual is the 99th percentile of |inverse(map(x)) - x| in mm.
        """
        back = invert(displacement)
        gap = inverse_error(displacement, back).flatten()
        sampled = gap[:: max(1, gap.numel() // 10**6)]
        residual = float(torch.quantile(sampled, 0.99)) * float(self.fixed.geometry.spacing.max())
        left = to_millimetres(back, self.fixed.geometry)
        return _with_linear(left, np.linalg.inv(self.matrix), self.moving.geometry), residual

    def _jacobian(self, displacement: Tensor) -> Volume:
        """Return the determinant of the whole map per voxel: volume change, 1 for none."""
        determinant = jacobian_determinant(displacement)[0, 0].float().cpu().numpy()
        scale = np.float32(np.linalg.det(self.matrix[:3, :3]))
        return Volume(determinant * scale, self.fixed.geometry)

    def _image(self, mapping: DisplacementField | FloatArray | None) -> Warped:
        """Return the moving image on the fixed grid, padded with its lowest value (air in CT)."""
        moved = resample(self.moving, self.fixed.geometry, mapping, outside=math.nan)
        outside = np.isnan(moved.array)
        if not outside.any():
            return Warped(moved, None)
        array = np.where(outside, moved.array.dtype.type(self.moving.array.min()), moved.array)
        return Warped(Volume(array, moved.geometry), ~outside)

    def _labels(self, mapping: DisplacementField | FloatArray | None) -> Volume | None:
        labels = self.extras.moving_labels
        if labels is None:
            return None
        return resample(labels, self.fixed.geometry, mapping, "nearest")

    def _starting_metrics(self) -> tuple[Metrics, Metrics]:
        """Return the metrics of the original pair and of the pair after the linear part."""
        grid = thinned_out(self.fixed.geometry)
        still = DisplacementField.from_affine(np.eye(4), grid)
        before = self._metrics(still, self._image(None), self._labels(None))
        if not self.is_linear:
            return before, before
        affine = DisplacementField.from_affine(self.matrix, grid)
        moved = self._image(self.matrix)
        return before, self._metrics(affine, moved, self._labels(self.matrix))

    def _initial_metrics(self, linear: Metrics) -> Metrics | None:
        """Return the metrics of the given initial transform, None where none was given."""
        given = self.extras.initial
        if not isinstance(given, DisplacementField):
            return None if given is None else linear
        field = field_on(given, self.fixed.geometry)
        return self._metrics(field, self._image(field), self._labels(field))

    def _metrics(self, field: DisplacementField, image: Warped, labels: Volume | None) -> Metrics:
        extras = self.extras
        points = None
        if extras.fixed_landmarks is not None and extras.moving_landmarks is not None:
            points = Landmarks(extras.fixed_landmarks, extras.moving_landmarks)
        both = extras.fixed_labels is not None and labels is not None
        return metrics(
            extras.fixed_labels if both else None,
            labels if both else None,
            field,
            moving_labels=extras.moving_labels if both else None,
            images=Images(self.fixed, image.volume, image.overlap(extras.fixed_mask)),
            points=points,
        )


def inverse_field(
    field: DisplacementField, linear: FloatArray, target: Geometry
) -> DisplacementField:
    """Return the map from moving to fixed points on the moving grid `target`.

    Args:
        field: the whole map x -> x + u(x), in mm.
        linear: 4x4, its linear part A; what is inverted by iteration is A^-1(x + u(x)).
    """
    grid, back = field.geometry, np.linalg.inv(linear)
    points = grid.points()
    rest = transformed(back, points + field.vectors) - points
    displacement = from_millimetres(DisplacementField(rest.astype(np.float32), grid))
    return _with_linear(to_millimetres(invert(displacement), grid), back, target)


def _with_linear(
    left: DisplacementField, inverse: FloatArray, target: Geometry
) -> DisplacementField:
    """Return `left`, a field on the fixed grid, after the 4x4 `inverse`, on the moving grid."""
    linear = DisplacementField.from_affine(inverse, target).vectors
    vectors = field_on(left, target, inverse).vectors + linear
    return DisplacementField(vectors, target, inverse)


def thinned_out(grid: Geometry) -> Geometry:
    """Return a coarse grid with the same outermost voxel centres.

    It suffices to measure a linear map: its displacement is largest at a corner, and its
    determinant is constant.
    """
    shape = tuple(min(n, FEW) for n in grid.shape)
    steps = [max(n - 1, 1) / max(few - 1, 1) for n, few in zip(grid.shape, shape, strict=True)]
    affine = grid.affine.copy()
    affine[:3, :3] *= steps[::-1]
    return Geometry(shape, affine)  # type: ignore[arg-type]


def versions() -> dict[str, str]:
    """Return what the result was made with."""
    return {
        "RegRefineLib": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "platform": sys.platform,
    }
