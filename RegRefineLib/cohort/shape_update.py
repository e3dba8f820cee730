"""The mean of the maps from a template to its scans, and the maps from the template without it.

A run gives phi_i(x) = A_i(x + u_i(x)), template to scan. Their mean is psi(x) = M(x + u(x)): M the
stretch of the mean of the A_i, u the weighted mean of the u_i. The unbiased template is the old one
seen through the inverse of psi, z = psi^-1(y), and the scans' maps become phi_i(psi^-1(y)), whose
mean is the identity. psi is inverted exactly (by a fixed point), where -u and repeated small steps
of -u are linear stand-ins (ANTs issues 806 and 811).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import DisplacementField, FloatArray, Geometry
from ..ops.warp import from_millimetres, inverse_error, invert, to_millimetres, warp
from .compact import sampled


@dataclass(frozen=True, eq=False)
class Mapping:
    """One scan's map from the template: x -> affine(x + residual(x)), residual in mm."""

    affine: FloatArray
    residual: DisplacementField

    @classmethod
    def from_field(cls, field: DisplacementField, affine: FloatArray, grid: Geometry) -> Mapping:
        """Return the map of a whole field (linear part included) on the template's grid."""
        whole = sampled(field, grid)
        inverse = np.linalg.inv(affine)
        linear = DisplacementField.from_affine(inverse, grid).vectors
        # affine^-1(x + f(x)) - x = (affine^-1 x - x) + (linear part of affine^-1) f(x)
        vectors = linear + whole.vectors @ inverse[:3, :3].T.astype(np.float32)
        return cls(np.asarray(affine, dtype=float), DisplacementField(vectors, grid))

    def whole(self) -> DisplacementField:
        """Return affine(x + u(x)) - x in mm on the template's grid."""
        grid = self.residual.geometry
        turned = self.residual.vectors @ self.affine[:3, :3].T.astype(np.float32)
        return DisplacementField(
            turned + DisplacementField.from_affine(self.affine, grid).vectors, grid
        )

    def inverse(self, grid: Geometry) -> tuple[DisplacementField, float]:
        """Return the map from the scan to the template on `grid`, and its error in mm.

        The error is the 99th percentile of |inverse(map(x)) - x|.
        """
        displacement = from_millimetres(self.residual)
        back = invert(displacement)
        error = inverse_error(displacement, back).flatten()
        gap = torch.quantile(error[:: max(1, error.numel() // 10**6)], 0.99)
        template = self.residual.geometry
        undone = to_millimetres(back, template)
        inverse = np.linalg.inv(self.affine)
        first = DisplacementField.from_affine(inverse, grid).vectors
        landed = grid.points() + first
        shape = (*grid.shape, 3)
        second = undone.at(landed.reshape(-1, 3)).reshape(shape).astype(np.float32)
        return DisplacementField(first + second, grid), float(gap) * float(template.spacing.max())


class MeanResidual:
    """The weighted mean of residual fields, one at a time: two fields in memory for any number."""

    def __init__(self, grid: Geometry):
        self._grid = grid
        self._sum = np.zeros((*grid.shape, 3))
        self._weight = 0.0

    def add(self, residual: DisplacementField, weight: float) -> None:
        """Take one more field on the grid."""
        self._sum += weight * residual.vectors
        self._weight += weight

    def field(self) -> DisplacementField:
        """Return the mean in mm."""
        return DisplacementField((self._sum / self._weight).astype(np.float32), self._grid)


@dataclass(frozen=True, eq=False)
class Update:
    """The inverse of the mean map: where each point of the new template lies in the old one.

    Attributes:
        stretch: M, 4x4.
        places: psi^-1(y) - y in mm on the template's grid.
    """

    stretch: FloatArray
    places: DisplacementField

    @classmethod
    def of(cls, mean: DisplacementField, stretch: FloatArray) -> Update:
        """Return the update of a mean residual and the mean affine's stretch."""
        grid = mean.geometry
        back = to_millimetres(invert(from_millimetres(mean)), grid)
        inverse = np.linalg.inv(stretch)
        shrunk = DisplacementField.from_affine(inverse, grid)
        moved = _at(back, shrunk)
        return cls(stretch, DisplacementField(shrunk.vectors + moved, grid))

    def applied(self, mapping: Mapping) -> Mapping:
        """Return a scan's map from the new template: phi(psi^-1(y)), as affine and residual."""
        grid = mapping.residual.geometry
        whole = self.places.vectors + _at(mapping.residual, self.places)  # before the affine
        affine = mapping.affine @ np.linalg.inv(self.stretch)
        # affine^-1 A (y + w) - y = M (y + w) - y
        linear = DisplacementField.from_affine(self.stretch, grid).vectors
        residual = linear + whole @ self.stretch[:3, :3].T.astype(np.float32)
        return Mapping(affine, DisplacementField(residual, grid))


def lands_inside(mapping: Mapping, scan: Geometry) -> NDArray[np.bool_]:
    """Return where a map from the template ends inside the scan's block of voxels."""
    index = scan.to_index(mapping.residual.geometry.points() + mapping.whole().vectors)
    limits = np.array(scan.shape[::-1]) - 0.5
    return np.asarray(((index >= -0.5) & (index <= limits)).all(axis=-1))


def lengths(field: DisplacementField, where: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean and the largest length in mm; 0 where there is no voxel to count."""
    sizes = np.linalg.norm(field.vectors, axis=-1)[where]
    return (float(sizes.mean()), float(sizes.max())) if sizes.size else (0.0, 0.0)


def _at(field: DisplacementField, places: DisplacementField) -> FloatArray:
    """Return a field's vectors at x + places(x), linearly; its border goes on outside."""
    moved: Tensor = warp(_components(field), from_millimetres(places), padding="border")
    return np.moveaxis(moved[0].numpy(), 0, -1)


def _components(field: DisplacementField) -> Tensor:
    """Return the vectors in mm as channels (1, 3, D, H, W), not turned into voxels."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(field.vectors, -1, 0)))[None]
