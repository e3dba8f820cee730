"""A transform that was found or read: applied, inverted, sampled at points, written, handed on."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry, Volume, transformed
from ..itk_lps import affine_to_transform, field_to_image
from ..resample import resample
from .convert import Image, image_of, labels_of, points_of

INTERPOLATIONS = {
    "linear": "linear",
    "nearest": "nearest",
    "label": "nearest",
    "bspline": "bspline",
}


class Transform:
    """A mapping of fixed points to moving points; the fixed point x lies at the moving x + u(x).

    Attributes:
        mapping: the DisplacementField (vectors in RAS mm on the fixed grid), or the 4x4.
        linear: 4x4, fixed RAS mm -> moving RAS mm: the linear part.
    """

    def __init__(
        self,
        mapping: DisplacementField | FloatArray,
        linear: FloatArray | None = None,
        moving: Geometry | None = None,
        inverse: DisplacementField | None = None,
    ):
        """Hold a mapping.

        Args:
            linear: its linear part; None: the identity for a field.
            moving: the moving grid, on which the inverse is computed when it is asked for.
            inverse: the inverse, where it is known already.
        """
        self.mapping = mapping
        if not isinstance(mapping, DisplacementField):
            self.linear = np.asarray(mapping, dtype=np.float64)
        else:
            self.linear = np.eye(4) if linear is None else np.asarray(linear, dtype=np.float64)
        self._moving, self._inverse = moving, inverse

    @property
    def field(self) -> DisplacementField:
        """The displacement field: vectors (k, j, i, 3) in RAS mm on the fixed grid.

        Raises:
            RegRefineError: the transform is a matrix, which lies on no grid.
        """
        if isinstance(self.mapping, DisplacementField):
            return self.mapping
        raise RegRefineError("field: this transform is linear and lies on no grid; use .linear")

    @cached_property
    def inverse(self) -> Transform:
        """The transform of moving points to fixed points, on the moving grid.

        A field is inverted by fixed-point iteration when this is first asked for, unless the run
        made the inverse (inverse=True). Where the field folds there is no inverse; what is found
        then is the nearest.
        """
        back = np.linalg.inv(self.linear)
        if not isinstance(self.mapping, DisplacementField):
            return Transform(back)
        grid = self.mapping.geometry
        found = self._inverse
        if found is None:
            from ..finish import inverse_field

            found = inverse_field(self.mapping, self.linear, self._moving or grid)
        return Transform(found, back, moving=grid, inverse=self.mapping)

    def points(self, xyz: ArrayLike, lps: bool = False) -> FloatArray:
        """Return where fixed points (n, 3) in mm lie in the moving image, (n, 3).

        Beyond the grid the field goes on with its border value, as in Slicer.

        Args:
            xyz: RAS mm, or LPS mm with `lps`, like what is returned; or a landmarks' file (RAS).

        Raises:
            RegRefineError: not (n, 3), or not finite.
        """
        points = points_of(xyz, "points", lps)
        moved = transformed(self.linear, points)
        if isinstance(self.mapping, DisplacementField):
            index = self.mapping.geometry.to_index(points)[:, ::-1].T
            vectors = self.mapping.vectors
            shift = [
                ndimage.map_coordinates(vectors[..., c], index, np.float64, order=1, mode="nearest")
                for c in range(3)
            ]
            moved = points + np.stack(shift, axis=-1)
        return moved * (-1.0, -1.0, 1.0) if lps else moved

    def apply(
        self,
        image: Any,
        like: Any = None,
        interpolation: str = "linear",
        outside: float | None = None,
    ) -> Image:
        """Return a moving image (or another in its space) on the fixed grid.

        Args:
            image: of any kind that `register` takes.
            like: an image on whose grid the result lies; None: the transform's own fixed grid.
            interpolation: linear, bspline, nearest, or label (nearest, for label maps).
            outside: value beyond the image; None: its lowest value, or 0 for labels.

        Raises:
            RegRefineError: another kind of image or interpolation, or no grid is known.
        """
        if interpolation not in INTERPOLATIONS:
            raise RegRefineError(
                f"interpolation: {' or '.join(INTERPOLATIONS)} is needed, got {interpolation!r}"
            )
        if interpolation == "label":
            moving: Volume = labels_of(image, "image").volume
        else:
            moving = image_of(image)
        if like is not None:
            grid = like if isinstance(like, Geometry) else image_of(like, "like").geometry
        elif isinstance(self.mapping, DisplacementField):
            grid = self.mapping.geometry
        else:
            raise RegRefineError("like: a linear transform needs the image to move onto")
        lowest = 0.0 if interpolation == "label" else float(moving.array.min())
        value = lowest if outside is None else outside
        moved = resample(moving, grid, self.mapping, INTERPOLATIONS[interpolation], value)
        return Image(moved.array, moved.geometry)

    def to_sitk(self) -> sitk.Transform:
        """Return the transform for SimpleITK (LPS), which takes fixed points to moving points.

        A field becomes a DisplacementFieldTransform, which is the identity beyond its grid.
        """
        if not isinstance(self.mapping, DisplacementField):
            return affine_to_transform(self.linear)
        image = sitk.Cast(field_to_image(self.mapping), sitk.sitkVectorFloat64)
        return sitk.DisplacementFieldTransform(image)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the transform to a file and return its path.

        Fields become displacement fields in mm (.nrrd, .nii.gz, .mha ...), matrices .tfm.

        Raises:
            RegRefineError: unknown ending, or the file cannot be written.
        """
        from ..io.transforms import write_affine, write_field

        if isinstance(self.mapping, DisplacementField):
            write_field(self.mapping, path)
        else:
            write_affine(self.linear, path)
        return Path(path)

    def __repr__(self) -> str:
        if not isinstance(self.mapping, DisplacementField):
            return "<Transform: 4x4, fixed RAS mm -> moving RAS mm>"
        sizes = " x ".join(str(n) for n in self.mapping.geometry.shape[::-1])
        return f"<Transform: displacement field of {sizes} voxels (i, j, k), in RAS mm>"
