"""The inputs of one golden file of metrics, and the metrics that several of its rows share."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from RegRefineLib.metrics import jacobian, label_maps, landmarks, ndv, overlap, surface

from .inputs import golden_field


class Case:
    """A file's arrays and notes; everything derived is computed once."""

    def __init__(self, data: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        self.data, self.meta = data, meta
        self.kept: dict[tuple, Any] = {}
        self.fixed, self.moving, self.warped = (
            data[f"in_{name}_labels"] for name in ("fixed", "moving", "warped")
        )
        self.moving_labels = frozenset(label_maps.labels_of(self.moving))

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def spacing(self, row: int) -> np.ndarray:
        return self.data["spacings"][row]

    def said(self, pattern: str, otherwise: str) -> str:
        """Return what the notes say, in the pattern's group."""
        found = re.search(pattern, self.meta.get("notes", ""))
        return found.group(1) if found else otherwise

    def labels_in_table(self, name: str) -> list[int]:
        rows = self.data["table_label"][self.data["table_name"] == name]
        return sorted({int(label) for label in rows} - {-1})

    def field(self, name: str) -> np.ndarray:
        """Return the field the notes describe, (3, k, j, i) in voxels, double precision."""
        return self._once(("field", name), lambda: self._field(name))

    def _field(self, name: str) -> np.ndarray:
        number = r"([\d.]+)"
        text = rf'\b{name} = golden_field\(seed,"(\w+)",shape,{number}\)'
        text += rf'(?: \+ {number}\*default_rng\(\[seed, crc32\("(\w+)"\)\]\))?'
        found = re.search(text, self.meta["notes"])
        if not found:
            raise KeyError(f"the notes describe no field {name!r}")
        tag, std, noise, noise_tag = found.groups()
        seed, shape = int(self.meta["seed"]), tuple(self.meta["shape"])
        u = golden_field(seed, tag, shape, float(std))
        if noise:
            generator = np.random.default_rng([seed, zlib.crc32(noise_tag.encode())])
            rough = float(noise) * generator.standard_normal((3, *shape))
            u = (u + rough).astype(np.float32)
        return u.astype(np.float64)

    def determinants(self, name: str, scheme: str) -> np.ndarray:
        return self._once(
            ("jac", name, scheme), lambda: jacobian.determinant(self.field(name), scheme)
        )

    def folded(self, name: str, masked: bool) -> ndv.NonDiffeomorphic:
        mask = self.fixed > 0 if masked else None
        return self._once(
            ("ndv", name, masked), lambda: ndv.non_diffeomorphic(self.field(name), mask)
        )

    def elements(self, row: int, label: int) -> surface.SurfaceDistances:
        """Return the distances between surface elements, as DeepMind measures."""
        return self._distances(surface.surface_distances, row, label)

    def border(self, row: int, label: int) -> surface.SurfaceDistances:
        """Return the distances between border voxels, as MedPy and MONAI measure."""
        return self._distances(surface.border_distances, row, label)

    def _distances(
        self, measure: Callable[..., surface.SurfaceDistances], row: int, label: int
    ) -> surface.SurfaceDistances:
        return self._once(
            (measure.__name__, row, label),
            lambda: measure(self.fixed == label, self.warped == label, self.spacing(row)),
        )

    def dice(self, labels: Any, variant: str, moving: frozenset[int] | None = None) -> dict:
        counts = self._once(("counts",), lambda: overlap.count_labels(self.fixed, self.warped))
        return overlap.dice(counts, labels, variant=variant, moving_labels=moving)

    def tre(self, interpolation: str) -> np.ndarray:
        spacing = self.said(r"spacing ([\d.]+/[\d.]+/[\d.]+)", "1.8/1.8/10").split("/")
        return landmarks.voxel_errors(
            self.data["in_landmarks_fixed"],
            self.data["in_landmarks_moving"],
            self.field(self.said(r"field (\w+), spacing", "smooth")),
            [float(s) for s in spacing],
            interpolation,
        )
