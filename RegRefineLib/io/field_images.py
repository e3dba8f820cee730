"""Images of vectors as mappings: whose they are, and in which units and frame.

=========== ================================================================= ==================
kind        what a vector is                                                  known by
=========== ================================================================= ==================
itk         displacement, LPS mm (ITK, ANTs, Greedy, elastix, Slicer)         .nrrd, .mha; 1007
ras         displacement, RAS mm (FreeSurfer, Connectome Workbench)           NIfTI intent 1006
niftyreg    position (p1 = 0) or displacement (1), RAS mm                     name NREG_TRANS
spm         position in the moving image, RAS mm (y_ files)                   name Mapping
fnirt       displacement or position in FSL's mm of the moving image          intent 2006
voxels      displacement in voxels along (i, j, k) (VoxelMorph, SynthMorph)   --: must be named
=========== ================================================================= ==================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import RegRefineError
from ..geometry import DisplacementField, FloatArray, Geometry, transformed
from ..itk_lps import SIGNS
from .fsl import fsl_from_voxels
from .images import FRAMES, VECTORS, ImageFile, save
from .nifti import write as write_nifti
from .notices import notice
from .paths import PathLike

KINDS = ("itk", "ras", "niftyreg", "spm", "fnirt", "voxels")
LINEAR_KEY = "RegRefine linear part"
# the keys by which Slicer knows a displacement field and its direction
FIELD_KEYS = {"displacement field type": "resampling", "intent_code": "1006"}
_DIRECTION = "displacement field type"
_VECTOR, _DISPLACEMENT, _FNIRT = 1007, 1006, 2006
_FNIRT_COEFFICIENTS = (2007, 2008, 2009)
# how near the linear part of positions is to the identity, times a fit that leaves little over
_LIKE_POSITIONS, _LEFT_OVER = 0.25, 0.2


def field_of(
    found: ImageFile, path: PathLike, kind: str | None = None, moving: Geometry | None = None
) -> DisplacementField:
    """Return the field of an image of vectors.

    Args:
        kind: one of KINDS; None: what the file says.
        moving: the moving image's grid, which fnirt needs.

    Raises:
        RegRefineError: not three values in each voxel; a kind that is not known, or not read;
            positions where displacements are announced; NaN or infinity.
    """
    if found.array.ndim != 4 or found.array.shape[-1] != 3:
        values = found.array.shape[-1] if found.array.ndim == 4 else 1
        raise RegRefineError(
            f"{path}: not a displacement field: {values} value(s) in each voxel instead of 3; "
            "name a transform"
        )
    kind = kind or _kind(found, path)
    vectors: FloatArray = np.asarray(found.array, dtype=np.float64)
    grid = found.geometry
    if kind == "spm":
        vectors = _filled(vectors, grid, path)
    _check_finite(vectors, path)
    if kind in ("itk", "ras"):
        vectors = vectors * SIGNS if kind == "itk" else vectors
        _check_displacements(vectors, grid, path)
    elif kind == "voxels":
        vectors = vectors @ grid.affine[:3, :3].T
    elif kind == "fnirt":
        vectors = _from_fsl(vectors, grid, moving, path) - grid.points()
    elif kind == "spm" or found.meta.get("intent_p1", "0").startswith("0"):
        vectors = vectors - grid.points()
    return DisplacementField(vectors.astype(np.float32), grid, _linear(found, path))


def write(
    field: DisplacementField, path: PathLike, kind: str = "itk", moving: Geometry | None = None
) -> None:
    """Write a field as an image of vectors of a kind.

    Raises:
        RegRefineError: as images.save; fnirt without the moving image's grid; a format that does
            not go with the kind.
    """
    nifti = str(path).lower().endswith((".nii", ".nii.gz"))
    if kind == "itk":
        vectors = field.vectors * SIGNS.astype(field.vectors.dtype)
        meta = dict(FIELD_KEYS)
        if field.linear is not None:
            meta[LINEAR_KEY] = " ".join(repr(float(v)) for v in field.linear.ravel())
        save(vectors, field.geometry, path, VECTORS, meta=meta)
        return
    if not nifti:
        raise RegRefineError(f"{path}: a field of kind {kind} is NIfTI; name it .nii.gz or .nii")
    positions = field.geometry.points() + field.vectors
    if kind == "fnirt":
        if moving is None:
            raise RegRefineError(f"{path}: FNIRT's fields need the moving image; give --moving")
        there = transformed(fsl_from_voxels(moving) @ moving.inverse_affine, positions)
        here = transformed(_ras_to_fsl(field.geometry), field.geometry.points())
        vectors = (there - here).astype(np.float32)
        write_nifti(vectors, field.geometry, path, (_FNIRT, "", 0.0), frames=True)
        return
    intent = {
        "ras": (_DISPLACEMENT, "", 0.0),
        "niftyreg": (_VECTOR, "NREG_TRANS", 0.0),
        "spm": (_VECTOR, "Mapping", 0.0),
        "voxels": (_VECTOR, "voxels", 0.0),
    }[kind]
    values: FloatArray = {"ras": field.vectors, "voxels": field.to_voxels()}.get(kind, positions)
    write_nifti(values.astype(np.float32), field.geometry, path, intent)


def _kind(found: ImageFile, path: PathLike) -> str:
    """Return whose vectors an image holds by what it says."""
    if found.format == "itk":
        if found.kind == FRAMES:
            raise RegRefineError(f"{path}: three images in a row, not vectors; name a transform")
        if found.meta.get(_DIRECTION, "").strip() == "modeling":
            raise RegRefineError(
                f"{path}: stored from moving to fixed points (displacement field type modeling); "
                "invert it in Slicer's Transforms module and save that"
            )
        return "itk"
    return _kind_of_nifti(found, path)


def _kind_of_nifti(found: ImageFile, path: PathLike) -> str:
    code = int(float(found.meta.get("intent_code") or 0))
    name = found.meta.get("intent_name", "")
    if code in _FNIRT_COEFFICIENTS:
        raise RegRefineError(
            f"{path}: FNIRT's coefficients; make a field of them with FSL's fnirtfileutils "
            "--withaff --out, and name that"
        )
    if name == "NREG_TRANS":
        parameter = float(found.meta.get("intent_p1") or 0)
        if parameter not in (0.0, 1.0):
            raise RegRefineError(
                f"{path}: NiftyReg's transform of type {parameter:g} (a control point grid or "
                "velocities); make a deformation field of it with reg_transform -def"
            )
        return "niftyreg"
    if name == "Mapping" or found.meta.get("descrip", "").startswith("Deformation"):
        return "spm"
    known = {_FNIRT: "fnirt", _DISPLACEMENT: "ras"}.get(code)
    if name == "voxels" or known:
        return known or "voxels"
    if code != _VECTOR or found.kind != VECTORS or name:
        what = f"vectors of an unknown kind {name!r}" if name else "three values in each voxel"
        raise RegRefineError(
            f"{path}: {what}; its header does not say in which units and frame they are (intent "
            f"code {code}); name their kind, one of {', '.join(KINDS)}, as in voxels:{path}"
        )
    if found.meta.get("units", "0") == "0":
        notice(
            f"{path}: its header does not say in what its vectors are; taken for ITK's (LPS mm), "
            f"as ANTs writes them. If they are voxels, name it voxels:{path}"
        )
    return "itk"


def _check_displacements(vectors: FloatArray, grid: Geometry, path: PathLike) -> None:
    """Raise where vectors (RAS) are really the places they point to: u(x) is then about x."""
    steps = tuple(slice(None, None, max(1, n // 12)) for n in grid.shape)
    points = grid.points()[steps].reshape(-1, 3)
    given = vectors[steps].reshape(-1, 3)
    points, given = points - points.mean(axis=0), given - given.mean(axis=0)
    spread = float(np.square(given).sum())
    if min(grid.shape) < 2 or spread == 0:
        return
    slope, *_ = np.linalg.lstsq(points, given, rcond=None)
    over = float(np.square(given - points @ slope).sum()) / spread
    gap = min(np.abs(slope - np.diag(signs)).max() for signs in ((1, 1, 1), (-1, -1, 1)))
    if gap < _LIKE_POSITIONS and over < _LEFT_OVER:
        raise RegRefineError(
            f"{path}: its vectors are positions, not displacements; if they are places in the "
            f"moving image in RAS mm, name it spm:{path}"
        )


def _from_fsl(
    vectors: FloatArray, grid: Geometry, moving: Geometry | None, path: PathLike
) -> FloatArray:
    """Return the places in the moving image, RAS mm, that a field of FSL's points to.

    Whether its vectors are displacements or positions is told as FSL's tools do: by which of the
    two spreads less.
    """
    if moving is None:
        raise RegRefineError(
            f"{path}: FNIRT's fields count in the moving image's voxel sizes; name that image too "
            "(--moving)"
        )
    here = transformed(_ras_to_fsl(grid), grid.points())
    is_relative = vectors.std(axis=(0, 1, 2)).sum() < (vectors - here).std(axis=(0, 1, 2)).sum()
    there = here + vectors if is_relative else vectors
    return transformed(moving.affine @ np.linalg.inv(fsl_from_voxels(moving)), there)


def _ras_to_fsl(grid: Geometry) -> FloatArray:
    matrix: FloatArray = fsl_from_voxels(grid) @ grid.inverse_affine
    return matrix


def _filled(positions: FloatArray, grid: Geometry, path: PathLike) -> FloatArray:
    """Return positions with the displacement of the nearest voxel where they are NaN."""
    holes = ~np.isfinite(positions).all(axis=-1)
    count = int(np.count_nonzero(holes))
    if not count or holes.all():
        return positions
    notice(f"{path}: no position in {count} voxels; they move as the nearest voxel that has one")
    nearest: NDArray[Any] = ndimage.distance_transform_edt(
        holes, return_distances=False, return_indices=True
    )
    moves = positions - grid.points()
    filled: FloatArray = grid.points() + moves[tuple(nearest)]
    return filled


def _check_finite(vectors: FloatArray, path: PathLike) -> None:
    bad = int((~np.isfinite(vectors)).any(axis=-1).sum())
    if bad:
        raise RegRefineError(f"{path}: {bad} displacements are NaN or infinite; make it anew")


def _linear(found: ImageFile, path: PathLike) -> FloatArray | None:
    """Return the linear part that a field of RegRefine's names, None where there is none."""
    text = found.meta.get(LINEAR_KEY)
    if text is None:
        return None
    try:
        matrix = np.array([float(word) for word in text.split()]).reshape(4, 4)
    except ValueError:
        notice(f"{path}: its linear part is not 16 numbers and is left out")
        return None
    return matrix if np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-8 else None
